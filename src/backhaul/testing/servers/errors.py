"""What goes wrong with a server of the test bed: not installable here, or it did not come up."""

from __future__ import annotations


class ServerUnavailable(Exception):
    """Something this machine lacks: Java, Maven, moto, or the network to fetch the jars.

    Tests skip on it (and fail where the environment has CI); the text names what to install.
    """


class ServerFailed(Exception):
    """The server was started and died, or did not answer in time.

    The text ends with the last lines of the server's log. Never a reason to skip a test.
    """
