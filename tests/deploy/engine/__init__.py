"""A Docker engine for tests: the one of this machine, or one in a state of its own that leaves nothing behind."""

from tests.deploy.engine.bases import GPU_BASE as GPU_BASE
from tests.deploy.engine.bases import load_gpu_base as load_gpu_base
from tests.deploy.engine.docker import Docker as Docker
from tests.deploy.engine.figures import Figures as Figures
from tests.deploy.engine.state import engine as engine
