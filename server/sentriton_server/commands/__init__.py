"""The commands of the server's package, as one Typer app. Each command imports its packages when it runs, so that
listing the commands is quick.
"""

import typer

from sentriton_server.commands import cache
from sentriton_server.commands.data import data
from sentriton_server.commands.export import export
from sentriton_server.commands.serve import serve
from sentriton_server.commands.train import train

app = typer.Typer()
for _command in (serve, export, train, data):
    app.command()(_command)
app.add_typer(cache.app, name="cache")
