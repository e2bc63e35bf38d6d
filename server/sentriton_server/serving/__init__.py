"""Find a Triton, look before starting it, run it, keep it running, stop it."""

from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.launcher import TritonServer
from sentriton_server.serving.settings import ServerSettings
from sentriton_server.serving.source import prepare_repository
from sentriton_server.serving.supervisor import Supervisor

__all__ = ["LaunchError", "ServerSettings", "Supervisor", "TritonServer", "prepare_repository"]
