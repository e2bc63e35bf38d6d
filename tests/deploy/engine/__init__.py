"""A Docker engine for tests: the one of this machine, or one in a state of its own that leaves nothing behind."""

from tests.deploy.engine.docker import Docker as Docker
from tests.deploy.engine.state import engine as engine
