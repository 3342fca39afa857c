"""Makes tests/data/reference/samplers.json: what each sampler makes of a model that is one formula.

    python tools/reference/samplers.py > tests/data/reference/samplers.json

Numpy in double precision, written from the definitions and not from the engine's code. `res_multistep` is integrated as
Adams-Bashforth of second order in the logarithm of sigma: the picture that the model makes out is taken to change along a
straight line there, and the integral of that is solved exactly.
"""

import json

import numpy

STEPS, SHIFT = 8, 3.0
START = numpy.array([-2.0, -0.7, 0.0, 0.4, 1.5, 3.0])
FIRSTS = (0, 3)


def sigmas():
    evenly = 1 - numpy.arange(STEPS) / STEPS
    return numpy.append(SHIFT * evenly / (1 + (SHIFT - 1) * evenly), 0.0)


def picture(x, sigma):
    """What the model takes the picture to be: it bends, and it changes with the noise."""
    return numpy.sin(x) + 0.3 * sigma * x


def straight(x, seen, sigma, after):
    return seen + (x - seen) * after / sigma


def bent(x, seen, before, sigma, last, after):
    """d(x)/d(t) = picture(t) - x, where t = -ln(sigma), from t to t + h, with the picture on the line through both."""
    h, back = numpy.log(sigma / after), numpy.log(last / sigma)
    slope = (seen - before) / back
    decay = numpy.exp(-h)
    # The integrals of exp(s - h) and of s exp(s - h) over s from 0 to h.
    return decay * x + seen * (1 - decay) + slope * (h - 1 + decay)


def run(sampler, first):
    levels, x, before, path = sigmas(), START, None, []
    for step in range(first, STEPS):
        sigma, after = levels[step], levels[step + 1]
        seen = picture(x, sigma)
        if sampler == "euler" or before is None or after == 0:
            x = straight(x, seen, sigma, after)
        else:
            x = bent(x, seen, before, sigma, levels[step - 1], after)
        before = seen
        path.append(x.tolist())
    return {"sampler": sampler, "first": first, "latents": path}


runs = [run(sampler, first) for sampler in ("euler", "res_multistep") for first in FIRSTS]
print(json.dumps({"steps": STEPS, "shift": SHIFT, "start": START.tolist(), "runs": runs}, indent=1))
