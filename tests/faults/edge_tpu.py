"""An Edge TPU's library, compiled here, that behaves as a test wants, and a bundle with a network "compiled" for it."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.vision.model_card import MODELS


def edge_tpu(folder: Path, body: str) -> tuple[Path, Path]:
    """Return a folder with a libedgetpu.so.1 whose delegate does `body`, and a bundle with a "compiled" model: the
    plain one, which a delegate that takes no operation leaves to the CPU. A `wrong` delegate writes a byte a run to the
    file at `runs`, and fails from when there is one at `unplugged`; both paths are for `body` to set."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc makes the fake library; run: apt install gcc")
    source = """
#include <stdlib.h>
#include <stdint.h>
#include <unistd.h>
#include <fcntl.h>
/* tensorflow/lite/core/c/common.h: TfLiteDelegate, TfLiteRegistration, TfLiteContext as far as they are needed */
struct delegate { void *data; int (*prepare)(void *, void *); void *a, *b, *c; int64_t flags; void *opaque; };
struct ints { int size, data[]; };
struct kernel { void *init, *free; int (*prepare)(void *, void *), (*invoke)(void *, void *);
    void *name; int32_t code; void *custom; int version; void *external, *async; uint64_t in_place; };
struct context { size_t n; int (*plan)(void *, struct ints **); void *tensors, *impl, *resize, *report, *add, *node;
    int (*replace)(void *, struct kernel, struct ints *, void *); };
static const char *runs = "/dev/null", *unplugged = "";
static int nothing(void *context, void *delegate) { return 0; }
static int run(void *context, void *node) {
    int file = open(runs, O_WRONLY | O_CREAT | O_APPEND, 0600); write(file, "1", 1); close(file);
    return access(unplugged, F_OK) == 0;
}
static int wrong(struct context *context, void *delegate) {  /* takes the last operation, leaves its result */
    struct kernel lazy = {0}; lazy.prepare = nothing; lazy.invoke = run;
    struct ints *plan, *last = malloc(8); context->plan(context, &plan);
    last->size = 1; last->data[0] = plan->data[plan->size - 1];
    return context->replace(context, lazy, last, delegate);
}
static void *works(void *how) { struct delegate *d = calloc(1, sizeof *d); d->prepare = how; return d; }
void *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*report)(const char *)) { %s }
void tflite_plugin_destroy_delegate(void *delegate) { free(delegate); }
"""
    library, bundle = folder / "lib", folder / "bundle"
    library.mkdir()
    (library / "edgetpu.c").write_text(source % body)
    made = ["gcc", "-w", "-shared", "-fPIC", "-o", library / "libedgetpu.so.1", library / "edgetpu.c"]
    subprocess.run(made, check=True)
    shutil.copytree(MODELS / "released", bundle)
    model = (bundle / "model.tflite").read_bytes()
    (bundle / "model_edgetpu.tflite").write_bytes(model)
    with (bundle / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(model).hexdigest()}  model_edgetpu.tflite\n")
    return library, bundle
