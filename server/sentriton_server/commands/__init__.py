"""The commands of the server's package, as one Typer app. Each imports what it works with when it runs, so that listing
them is quick.
"""

import typer

from sentriton_server.commands.export import export
from sentriton_server.commands.serve import serve
from sentriton_server.commands.train import train

app = typer.Typer()
for _command in (serve, export, train):
    app.command()(_command)
