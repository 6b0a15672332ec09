"""An audit hook that notes in a file, SPY_LOG, whom a process asks for beyond this machine."""

# As sitecustomize.py, Python imports it at the start of every process, those of others too.
SPY = """
import os, sys

LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
SENDING = {"socket.connect", "socket.sendto", "socket.sendmsg"}

def note(event, arguments):
    host = arguments[0] if event in LOOKUPS else None
    if event in SENDING and isinstance(arguments[1], tuple):  # else a file, or connected before
        host = arguments[1][0]
    if host not in (None, "127.0.0.1", "localhost", "::1"):
        with open(os.environ["SPY_LOG"], "a") as log:
            log.write(f"{event} {host}\\n")

sys.addaudithook(note)
"""
