"""Texts of kernels, compiled for CUDA and looked through without a GPU.

    python -m tests.cuda_check [--arch 75,80,90,100,120] [--out FILE]

prints what each kernel of `zoo` uses, and the faults; exit code 1 if there are any. CuPy's NVRTC
compiles, nvdisasm of NVIDIA's wheel shows the instructions.
"""
