"""Says something to a TCP server and prints its answer. Members of a group start together: it tries until the server listens."""
import argparse
import logging
import socket
import time

arguments = argparse.ArgumentParser()
arguments.add_argument("--host", required=True)
arguments.add_argument("--port", type=int, required=True)
arguments.add_argument("--log-file", required=True)
arguments.add_argument("--message", required=True)
options = arguments.parse_args()
logging.basicConfig(filename=options.log_file, level=logging.INFO, format="%(message)s")

for attempt in range(100):
    try:
        connection = socket.create_connection((options.host, options.port), timeout=5)
        break
    except OSError as error:
        logging.info("attempt %d: %s", attempt, error)
        time.sleep(0.1)
else:
    raise SystemExit("the server never listened")
with connection:
    connection.sendall(options.message.encode())
    answer = connection.recv(4096).decode()
logging.info("answer: %s", answer)
print(answer)
