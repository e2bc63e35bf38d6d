"""Finds Triton, checks the machine, starts Triton, supervises it and stops it."""

from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.launcher import TritonServer
from sentriton_server.serving.source import prepare_repository
from sentriton_server.serving.supervisor import Supervisor
from sentriton_server.settings import ServerSettings

__all__ = ["LaunchError", "ServerSettings", "Supervisor", "TritonServer", "prepare_repository"]
