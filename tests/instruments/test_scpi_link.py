"""The SCPI base against devices that misbehave, one fault each."""

import socket
import subprocess
import sys
import threading
import time

import pytest

from closedloop.controller.errors import SourceError
from closedloop.instruments.scpi import LinkError, ScpiInstrument


class Meter(ScpiInstrument):
    def measure(self, setting):
        return {"volt": self.query_number("MEAS?")}


class Device:
    """A server on loopback; ``answers`` maps a command to text, silence (None) or a deed on the socket."""

    def __init__(self, answers):
        self.answers = {"*IDN?": "ACME,DMM", "SYST:ERR?": '0,"No error"', **answers}
        self.heard = []
        self.n_clients = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP::127.0.0.1::{self.server.getsockname()[1]}::SOCKET"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                wire, _ = self.server.accept()
            except OSError:
                return
            self.n_clients += 1
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire):
        try:
            for line in wire.makefile("rb"):
                command = line.decode().strip()
                self.heard.append(command)
                answer = self.answers.get(command)
                if callable(answer):
                    answer(wire)
                elif answer is not None:
                    wire.sendall(answer.encode("latin1") + b"\n")
        except OSError:
            pass


@pytest.fixture
def opened():
    made = []

    def open_one(reply_timeout_s=0.3, **answers):
        device = Device({k.replace("__", ":") + "?": v for k, v in answers.items()})
        instrument = Meter(device.resource, reply_timeout_s=reply_timeout_s)
        made.append((device, instrument))
        return device, instrument

    yield open_one
    for device, instrument in made:
        instrument.close()
        device.server.close()


def late(text, wait_s):
    def answer(wire):
        time.sleep(wait_s)
        wire.sendall(text + b"\n")

    return answer


def drip(text, wait_s):
    def answer(wire):
        for byte in text:
            wire.sendall(bytes([byte]))
            time.sleep(wait_s)

    return answer


def test_a_late_reply_is_never_the_next_answer(opened):
    device, instrument = opened(SLOW=late(b"LATE", 0.5), MEAS="1.25")
    with pytest.raises(LinkError, match=r"no answer to 'SLOW\?' .*reply_timeout_s=0\.3"):
        instrument.query("SLOW?")
    time.sleep(0.4)  # the late reply has gone out by now
    assert instrument.query_number("MEAS?") == 1.25
    assert device.n_clients == 2


def test_an_interrupt_closes_the_link_too(opened, monkeypatch):
    _, instrument = opened(SLOW=late(b"LATE", 0.1), MEAS="1.25")
    instrument.connect()

    def interrupted():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(instrument._link, "_read_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            instrument.query("SLOW?")
    time.sleep(0.15)
    assert instrument.query_number("MEAS?") == 1.25


def test_a_reply_may_drip_in(opened):
    _, instrument = opened(MEAS=drip(b"+1.25E+00\n", 0.01))
    assert instrument.query_number("MEAS?") == 1.25


def test_a_drip_without_end_is_ended(opened):
    _, instrument = opened(MEAS=drip(b"1" * 400, 0.02))
    begun = time.monotonic()
    with pytest.raises(LinkError, match="no end of line"):
        instrument.query("MEAS?")
    assert time.monotonic() - begun < 1.0


def test_a_link_that_is_closed_by_the_device_is_an_error(opened):
    _, instrument = opened(MEAS=lambda wire: wire.shutdown(socket.SHUT_RDWR))
    with pytest.raises(LinkError, match="gave no answer"):
        instrument.query("MEAS?")


@pytest.mark.parametrize("reply", ["9.9E37", "-9.9E37", "9.91E37", "nan", "inf", "OVLD", ""])
def test_what_is_no_measured_number_is_refused(opened, reply):
    _, instrument = opened(MEAS=reply)
    with pytest.raises(SourceError, match="no finite number"):
        instrument.query_number("MEAS?")


def test_bytes_that_are_no_text_are_refused(opened):
    _, instrument = opened(MEAS="\x00\xff1.25", VOLT="2")
    with pytest.raises(LinkError):
        instrument.query("MEAS?")
    assert instrument.query_number("VOLT?") == 2.0


def test_the_words_of_the_device_come_through(opened):
    _, instrument = opened(SYST__ERR='-222,"Data out of range"')
    with pytest.raises(SourceError, match="refused 'VOLT 99': -222,\"Data out of range\""):
        instrument.write("VOLT 99")


def test_a_setpoint_that_does_not_take_is_noticed(opened):
    device, instrument = opened(VOLT="4.99")
    with pytest.raises(SourceError, match=r"VOLT reads back 4\.99 after 5 was set"):
        instrument.set_number("VOLT", 5)
    instrument.set_number("VOLT", 5, tolerance=0.01)
    assert device.heard.count("VOLT 5.0") == 2


def test_what_is_not_finite_is_never_sent(opened):
    device, instrument = opened()
    with pytest.raises(SourceError):
        instrument.set_number("VOLT", float("nan"))
    assert device.heard == []


def test_the_wrong_device_is_refused(opened):
    class Supply(Meter):
        identity = "PSU"

    device, _ = opened()
    with pytest.raises(SourceError, match="is 'ACME,DMM', not a 'PSU'"):
        Supply(device.resource).connect()


@pytest.mark.parametrize("resource", ["TCPIP::127.0.0.1::1::SOCKET", "TCPIP::nowhere.invalid::1::SOCKET", "rubbish"])
def test_nothing_there_is_said_at_once_with_the_remedy(resource):
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"switch the device on|see that the device is on"):
        Meter(resource).connect()
    assert time.monotonic() - begun < 5


def test_a_device_that_is_deaf_is_said_in_time(opened):
    _, instrument = opened(**{"*IDN": None})
    begun = time.monotonic()
    with pytest.raises(SourceError, match="\\*IDN\\?"):
        instrument.connect()
    assert time.monotonic() - begun < 1


def test_make_safe_needs_no_old_connection(opened):
    device, instrument = opened()
    instrument.connect()
    instrument._link._session.close()  # behind its back
    instrument.make_safe()
    assert "*RST" in device.heard
    assert device.n_clients == 2


def test_the_module_does_not_import_pyvisa():
    code = "import sys, closedloop.instruments.scpi; sys.exit('pyvisa' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
