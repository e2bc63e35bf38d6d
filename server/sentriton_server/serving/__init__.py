"""Find a Triton, look before starting it, run it, stop it."""

from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.launcher import TritonServer
from sentriton_server.serving.settings import ServerSettings
from sentriton_server.serving.source import prepare_repository

__all__ = ["LaunchError", "ServerSettings", "TritonServer", "prepare_repository"]
