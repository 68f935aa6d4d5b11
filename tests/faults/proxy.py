"""A TCP proxy that can reset what goes through it, slow it down, or turn it away."""

import socket
import struct
import threading
import time
from contextlib import suppress

CHUNK = 65536
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST instead of FIN


class Proxy:
    """Listens on a free port and passes everything to one address."""

    def __init__(self, host: str, port: int) -> None:
        self.latency = 0.0  # seconds that every chunk waits, each way
        self.refusing = False
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._turn = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def reset(self) -> int:
        """Abort every connection in the middle of whatever it carries; how many there were."""
        with self._turn:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                    end.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
                with suppress(OSError):
                    end.close()
        return len(pairs)

    def stop(self) -> None:
        """Stop listening and abort everything."""
        self._listener.close()
        self.reset()

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                if self.refusing:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._turn:
                self._pairs.add((near, far))
            for way in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(*way, (near, far)), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                time.sleep(self.latency)
                sink.sendall(chunk)
        with self._turn, suppress(OSError):
            if pair in self._pairs:  # an aborted one ends with RST alone, and a FIN before it would be a polite end
                sink.shutdown(socket.SHUT_WR)
