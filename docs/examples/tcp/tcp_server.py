"""Answers one TCP client and writes down what it said."""
import argparse
import logging
import socket

arguments = argparse.ArgumentParser()
arguments.add_argument("--host", required=True)
arguments.add_argument("--port", type=int, required=True)
arguments.add_argument("--out", required=True)
arguments.add_argument("--log-file", required=True)
options = arguments.parse_args()
logging.basicConfig(filename=options.log_file, level=logging.INFO, format="%(message)s")

with socket.create_server((options.host, options.port)) as server:
    logging.info("listening on port %d", options.port)
    connection, _ = server.accept()
    with connection:
        said = connection.recv(4096)
        with open(options.out, "wb") as out:
            out.write(said)
        connection.sendall(b"server received: " + said)
        logging.info("answered %d bytes", len(said))
print("served one client")
