"""eSpeak NG through ctypes, in a process of its own: `python -m kd2deploy.data._speaking HOME LIBRARY`.

The library carries the state of its voices from one sentence to the next and has no way to drop it, so a process that
speaks once says the same of the same lines. Lines are read from standard input as JSON, [text, voice, rate, pitch];
numpy arrays go to standard output: `sampling_rate`, and the samples of each line by its number. Exit code 1 with a word
on standard error where something cannot be said.
"""

import ctypes
import io
import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

SYNCHRONOUS, NEVER_EXIT, UTF8 = 2, 0x8000, 1
RATE, PITCH = 1, 3
"""Numbers of eSpeak's parameters: words a minute (175 is usual), and 0..100 (50 is usual)."""
HEARD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """eSpeak, opened; `sampling_rate` in Hz."""

    def __init__(self, home: str, library: str) -> None:
        self.parts: list[NDArray[np.int16]] = []
        self.callback = HEARD(self.hear)  # kept alive for as long as the library may call it
        self.library: Any = ctypes.CDLL(f"{home}/{library}")
        self.sampling_rate: int = self.library.espeak_Initialize(SYNCHRONOUS, 0, home.encode(), NEVER_EXIT)
        if self.sampling_rate <= 0:
            raise SystemExit("eSpeak does not start")
        self.library.espeak_SetSynthCallback(self.callback)

    def hear(self, samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            self.parts.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    def say(self, text: str, voice: str, rate: int, pitch: int) -> NDArray[np.int16]:
        """[samples]."""
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SystemExit(f"eSpeak has no voice {voice!r}")
        self.library.espeak_SetParameter(RATE, rate, 0)
        self.library.espeak_SetParameter(PITCH, pitch, 0)
        encoded = text.encode()
        self.parts.clear()
        size = ctypes.c_size_t(len(encoded) + 1)
        done = self.library.espeak_Synth(encoded, size, 0, 0, 0, UTF8, None, None)
        if done != 0 or not self.parts:
            raise SystemExit(f"eSpeak says nothing of {text!r} (error {done})")
        return np.concatenate(self.parts)


def main() -> None:
    speaker = Speaker(*sys.argv[1:])
    said = [speaker.say(*line) for line in json.load(sys.stdin)]
    arrays: dict[str, Any] = {str(place): one for place, one in enumerate(said)}
    written = io.BytesIO()
    np.savez(written, sampling_rate=speaker.sampling_rate, **arrays)
    sys.stdout.buffer.write(written.getvalue())


if __name__ == "__main__":
    main()
