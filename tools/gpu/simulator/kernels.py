"""Makes a preprocessed CUDA source into one for the host: python3 kernels.py < IN > OUT

Each kernel registers itself under its name, so that a launch finds it, and says whether its threads wait for each other.
"""

import re
import sys

KERNEL = re.compile(r'extern\s+"C"\s+__kernel__\s+void\s+(\w+)\s*\(')
FUNCTION = re.compile(r"\b(?!if\b|for\b|while\b|switch\b)(\w+)\s*\((?:[^(){};]|\([^(){};]*\))*\)\s*\{")


def body(text, start):
    """From one brace to the one that closes it."""
    depth = 0
    for brace in re.finditer("[{}]", text[start:]):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[start:start + brace.end()]
    return text[start:]


def waiting(text):
    """Names of the functions in which threads wait for each other, directly or in what they call."""
    called = {}
    for function in FUNCTION.finditer(text):
        words = set(re.findall(r"\b(\w+)\s*(?:<[^;(){}]*>)?\s*\(", body(text, function.end() - 1)))
        called.setdefault(function.group(1), set()).update(words)
    names = {"__syncthreads", "of_warp"}
    while True:
        more = {name for name, words in called.items() if words & names} - names
        if not more:
            return names
        names |= more


def main():
    text = sys.stdin.read()
    kernels = sorted(set(KERNEL.findall(text)))
    wait = waiting(text)
    print(re.sub(r'extern\s+"C"\s+__kernel__', "static", text).replace("__kernel__", ""))
    for name in kernels:
        print(f'static Registered registered_{name}("{name}", {str(name in wait).lower()}, &{name});')


if __name__ == "__main__":
    main()
