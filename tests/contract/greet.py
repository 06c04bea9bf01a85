"""A one-shot: writes $GREETING under the key `greeting` through the edge at $TARGET, and says so."""

import os
import socket
import sys

host, _, port = os.environ["TARGET"].partition(":")
with socket.create_connection((host, int(port)), timeout=5) as connection:
    connection.sendall(f"SET greeting {os.environ['GREETING']}\r\n".encode())
    answer = connection.recv(100)
sys.stdout.write(f"greeting {os.environ['GREETING']}: {answer.decode().strip()}\n")
sys.exit(0 if answer == b"+OK\r\n" else 1)
