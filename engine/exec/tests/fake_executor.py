"""An executor for tests: does what the configuration of a call says. Standard library only."""

import fcntl
import mmap
import os
import socket
import struct
import subprocess
import sys
import termios
import time


def pack(value):
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        data = value.encode()
        return b"\xdb" + struct.pack(">I", len(data)) + data
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, (list, tuple)):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    return b"\xdf" + struct.pack(">I", len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())


def unpack(data, at=0):
    """The value at `at`, and where the next one is."""
    def number(size):
        return int.from_bytes(data[at + 1:at + 1 + size], "big"), at + 1 + size

    def several(count, at):
        values = []
        for _ in range(count):
            value, at = unpack(data, at)
            values.append(value)
        return values, at

    def mapping(count, at):
        values, at = several(2 * count, at)
        return dict(zip(values[::2], values[1::2])), at

    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    if byte < 0x90:
        return mapping(byte & 15, at + 1)
    if byte < 0xA0:
        return several(byte & 15, at + 1)
    if byte < 0xC0:
        end = at + 1 + (byte & 31)
        return data[at + 1:end].decode(), end
    if byte in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[byte], at + 1
    if byte in (0xCC, 0xCD, 0xCE, 0xCF):
        return number(1 << (byte - 0xCC))
    if byte in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB):
        length, start = number(1 << (byte - (0xC4 if byte < 0xD0 else 0xD9)))
        raw = bytes(data[start:start + length])
        return (raw if byte < 0xD0 else raw.decode()), start + length
    if byte in (0xDC, 0xDD):
        count, start = number(2 if byte == 0xDC else 4)
        return several(count, start)
    if byte in (0xDE, 0xDF):
        count, start = number(2 if byte == 0xDE else 4)
        return mapping(count, start)
    raise ValueError(f"byte {byte:#x}")


def written():
    """How much was written to the log."""
    page = mmap.mmap(int(os.environ["RAIN_EXECUTOR_LOG"]), 4096)
    places = []
    while len(places) < 2:
        numbers = slice(24 * len(places), 24 * len(places) + 24)
        taken, _, moving = struct.unpack("=QQQ", page[numbers])
        unread = struct.unpack("i", fcntl.ioctl(1 + len(places), termios.FIONREAD, b"    "))[0]
        if struct.unpack("=QQQ", page[numbers])[2] == moving and not moving & 1:
            places.append(taken + unread)
    return places


class Connection:
    def __init__(self):
        self.socket = socket.socket(fileno=os.dup(0))
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)

    def send(self, message):
        body = pack(message)
        self.socket.sendall(struct.pack("<I", len(body)) + body)

    def receive_bytes(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(min(length - len(data), 1 << 20))
            if not piece:
                sys.exit(0)
            data += piece
        return data

    def receive(self):
        (length,) = struct.unpack("<I", self.receive_bytes(4))
        return unpack(self.receive_bytes(length))[0]


def run(connection, kinds, call, kind, task, config, inputs, extra):
    here = os.environ["RAIN_EXECUTOR_DIR"]
    method = kinds[kind]["type"].split("/")[1]
    argument = kinds[kind]["config"] if config is None else config
    argument = unpack(argument)[0] if argument else None

    def done(*outputs, **info):
        connection.send(["done", call, list(outputs), info])

    if method == "echo":  # every input as content
        contents = [i[0] if isinstance(i[0], bytes) else open(i[0], "rb").read() for i in inputs]
        done(*([content, None, None] for content in contents))
    elif method == "describe":  # what came, as text
        sources = ["inline" if isinstance(i[0], bytes) else "path" for i in inputs]
        done([repr([kind, task, argument, sources, [i[1:] for i in inputs], extra]).encode(), "text", None])
    elif method == "pass":
        done([argument["input"], argument.get("content_type"), argument.get("user")], debug="said", user="{}")
    elif method == "file":
        with open(os.path.join(here, "result"), "wb") as file:
            file.write(b"f" * argument["size"])
        done([os.path.join(here, "result"), None, None])
    elif method == "directory":
        os.makedirs("tree/sub")
        open("tree/sub/f", "w").close()
        done(["tree", None, None])
    elif method == "path":
        os.path.lexists("link") or os.symlink("/etc", "link")
        done([argument, None, None])
    elif method == "typed":
        done([b"x", argument, '{"u":1}'])
    elif method == "outputs":
        done(*([b"", None, None] for _ in range(argument)))
    elif method == "fail":
        connection.send(["fail", call, {"message": "it failed", "debug": "why", "user": "{}"}])
    elif method == "says":  # fails, and writes its argument unless that is "second"
        start = written()
        if argument != "second":
            print(argument, flush=True)
            os.write(2, argument.encode() + b"!")
        output = {} if argument == "second" else {"output": list(zip(start, written()))}
        connection.send(["fail", call, {"message": "it failed", **output}])
    elif method == "output-user":
        done([b"x", None, argument])
    elif method == "info-user":
        done(user=argument)
    elif method == "fail-user":
        connection.send(["fail", call, {"message": "it failed", "user": argument}])
    elif method == "lend":  # returns what is on its way, as executors do, before it waits
        connection.send(["lend", call])
        returned = []
        while (message := connection.receive())[0] != "lent":
            if message[0] == "call":
                returned.append(message[1])
        connection.send(["return", returned, None])
        connection.send(["resume", call])
        done()
    elif method == "lend-another":
        connection.send(["lend", call + 1000])
    elif method == "return":
        connection.send(["return", [call], "it is used up"])
    elif method == "return-another":
        connection.send(["return", [call + 1000], None])
    elif method == "exit":
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)
    elif method == "kill":
        os.kill(os.getpid(), 9)
    elif method == "close":
        connection.socket.close()
        time.sleep(1000)
    elif method in ("lives closed", "lives garbled"):  # says after a while that it does
        if method == "lives closed":
            connection.socket.close()
        else:
            connection.socket.sendall(b"\x05\x00\x00\x00hello")
        time.sleep(0.9)
        open(argument, "w").close()
        time.sleep(1000)
    elif method == "garbage":
        connection.socket.sendall(b"\x05\x00\x00\x00hello")
    elif method == "oversized":
        connection.socket.sendall(b"\xff\xff\xff\xff")
    elif method == "unknown":
        connection.send(["done", call + 1000, [], {}])
    elif method == "again":
        connection.send(["register", {"version": 1, "name": "fake", "pid": os.getpid()}])
    elif method == "half":
        connection.socket.sendall(b"\xff\x00\x00\x00half")
        os._exit(0)
    elif method == "hang":
        time.sleep(1000)
    elif method == "spawn":  # a child that would stay, and its id
        child = subprocess.Popen(["sleep", "1000"])
        done([str(child.pid).encode(), None, None])
    elif method == "chatty":
        print("x" * argument)
        sys.stdout.flush()
        done()
    elif method == "where":
        done([(os.getcwd() + " " + sys.stdin.read()).encode(), None, None])
    else:
        raise ValueError(method)


def main(mode):
    connection = Connection()
    register = {"version": 1, "name": "fake", "pid": os.getpid()}
    if mode == "silent":
        time.sleep(1000)
    elif mode == "dies":
        sys.exit("cannot import something")
    elif mode == "early":
        connection.send(["done", 1, [], {}])
    elif mode == "long":
        connection.socket.sendall(struct.pack("<I", 1 << 20))
    elif mode == "name":
        register["name"] = "other"
    elif mode == "version":
        register["version"] = 9
    connection.send(["register", register])
    if mode == "deaf":  # answers without reading: both directions fill up
        for call in range(int(sys.argv[2])):
            connection.send(["done", call, [[b"y" * 50000, None, None]], {}])
    kinds = {}
    while True:
        message = connection.receive()
        if message[0] == "define":
            assert message[1] not in kinds
            kinds[message[1]] = message[2]
        elif message[0] == "forget":
            for kind in message[1]:
                del kinds[kind]
        elif mode != "deaf":
            run(connection, kinds, *message[1:])


main(sys.argv[1])
