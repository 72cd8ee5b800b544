"""Tensors in a file of safetensors that processes can use where they lie."""

import json

import torch
from safetensors.torch import load_file

from .._damage import damage_error

# torch aligns tensors in memory to this number of bytes. Sums of tensors that are not
# aligned differ in the last bit.
_ALIGNMENT = 64
# Fewest bytes of a tensor that is mapped.
_SMALLEST = 1 << 20
# Prefix of the names of tensors that only fill gaps: the format allows none.
_FILLING = "filling-"
# Names of dtypes in the format.
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(tensors, path):
    """Write tensors to a file of safetensors, each at a multiple of 64 bytes.

    safetensors itself writes one directly after the other. Such tensors would have to
    be copied when the file is loaded.

    Parameters
    ----------
    tensors : dict of str to tensor
        Contiguous, on the CPU.
    path : Path

    Raises
    ------
    TypeError
        If the format has no name for a dtype.
    """
    header, written, place = {}, [], 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise TypeError(
                f"{name} has the dtype {tensor.dtype}, which a model folder cannot "
                "keep. Use pickle or joblib for this model."
            )
        gap = -place % _ALIGNMENT
        if gap:
            filling = torch.zeros(gap, dtype=torch.uint8)
            header[f"{_FILLING}{len(header)}"] = _describe(filling, place)
            written.append(filling)
        header[name] = _describe(tensor, place + gap)
        written.append(tensor)
        place += gap + tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in written:
            # A tensor of one number may have any stride, which view refuses.
            flat = tensor.as_strided((tensor.numel(),), (1,))
            file.write(flat.view(torch.uint8).numpy())


def _describe(tensor, place):
    return {
        "dtype": _DTYPES[tensor.dtype],
        "shape": list(tensor.shape),
        "data_offsets": [place, place + tensor.nbytes],
    }


def read_tensors(path, mmap):
    """Read tensors from a file of safetensors.

    Parameters
    ----------
    path : Path
    mmap : bool
        Whether large tensors of floating-point numbers remain in the file and are read
        when they are used. What is written to them goes to a copy in memory. All others
        are copied: whole numbers say where something is looked up, and a change in the
        file must not lead anywhere else after they have been checked.

    Returns
    -------
    dict of str to tensor

    Raises
    ------
    DamagedError
        If the file is not one of safetensors.
    """
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors has a class of its own
        raise damage_error(path, str(error)) from error
    return {
        name: tensor if mmap and _stays(tensor) else tensor.clone()
        for name, tensor in tensors.items()
        if not name.startswith(_FILLING)
    }


def _stays(tensor):
    # Files of earlier versions are not aligned.
    return (
        tensor.is_floating_point()
        and tensor.nbytes >= _SMALLEST
        and tensor.data_ptr() % _ALIGNMENT == 0
        and is_alone(tensor)
    )


def is_alone(tensor):
    """Whether nothing else is in the storage of a tensor.

    Early versions of safetensors map a file as one storage. Each of its tensors would
    be pickled with all of it.
    """
    return tensor.untyped_storage().nbytes() == tensor.nbytes
