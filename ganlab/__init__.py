__version__ = "0.1.0"


def __getattr__(name):
    "`ganlab.load(run)` without importing torch's companions before it is called."
    if name != "load": raise AttributeError(f"module 'ganlab' has no attribute {name!r}")
    from ganlab.runs import load

    return load
