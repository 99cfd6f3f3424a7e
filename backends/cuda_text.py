"""What every module of kernels begins with, and the few kernels that are written by hand.

By hand is what no layer can say: `stage` takes a batch from the data set, `totals` adds the parts
of sums, `judge` looks whether a step was finite, `gather` and `scatter` are about the rows of
tables that an index names.
"""

from __future__ import annotations

from gpubp.program.c_expressions import REAL, TYPES
from gpubp.program.calls import Gather, Program, Scatter, Total
from gpubp.program.halves import LARGEST_SCALE, STEADY

_HEAD = r"""
// So many numbers side by side, in one load or store of up to 16 bytes.
template <typename X, int N>
struct alignas(sizeof(X) * N < 16 ? sizeof(X) * N : 16) Pack { X at[N]; };

template <int N, typename X>
__device__ __forceinline__ Pack<X, N> load(const X* from) {
    return *reinterpret_cast<const Pack<X, N>*>(from);
}

template <typename X, int N>
__device__ __forceinline__ void store(X* to, const Pack<X, N>& pack) {
    *reinterpret_cast<Pack<X, N>*>(to) = pack;
}

struct Sum {
    template <typename X> __device__ __forceinline__ X operator()(X a, X b) const { return a + b; }
};
struct Max {  // NaN stays NaN
    template <typename X> __device__ __forceinline__ X operator()(X a, X b) const {
        return (a < b || b != b) ? b : a;
    }
};
struct Min {
    template <typename X> __device__ __forceinline__ X operator()(X a, X b) const {
        return (a > b || b != b) ? b : a;
    }
};

// What so many neighbouring lanes have, joined by a tree; each of them has the result.
template <int LANES, typename X, typename F>
__device__ __forceinline__ X join(X x, F f) {
#pragma unroll
    for (int apart = LANES / 2; apart > 0; apart /= 2)
        x = f(x, X(__shfl_xor_sync(0xffffffffu, x, apart)));
    return x;
}

// The same of all threads of a block, warp by warp; `room` is shared memory for one of each warp.
template <int THREADS, typename X, typename F>
__device__ __forceinline__ X join_block(X x, F f, X* room) {
    x = join<32>(x, f);
    __syncthreads();
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    x = room[0];
#pragma unroll
    for (int warp = 1; warp < THREADS / 32; ++warp) x = f(x, room[warp]);
    return x;
}
"""

BOOK = {
    name: number for number, name in enumerate(
        ("x", "t", "w", "order", "numbers", "losses", "start", "step", "done", "stopped",
         "stop_at_once")
    )
}  # fmt: skip
"""The places in the book of a run, int64 on the device: where data lie, and how far steps are.

So a step that was captured finds other data, another epoch and other numbers in later replays.
"""

_TOTAL = r"""
template <typename X>
__device__ __forceinline__ X total(X a, X b, I op) {
    return op == 0 ? Sum()(a, b) : op == 1 ? Max()(a, b) : Min()(a, b);
}
"""

_STAGE = r"""
// One row of the data set, by the threads of a warp.
template <typename Y, typename X>
__device__ __forceinline__ void copy_row(Y* to, const X* from, int cols, int lane) {
    for (int j = lane; j < cols; j += 32) to[j] = Y(from[j]);
}

// The batch, the numbers and the number of the step that is next; a warp a row.
extern "C" __global__ void __launch_bounds__(256, 4) stage(
    const I* book, T* x, int x_cols, LABEL* t, int t_cols, T* w, T* numbers, int count, U* step,
    int rows
) {
    const I done = book[DONE], first = (book[START] + done) * rows;
    const I* order = (const I*)book[ORDER];
    const int lane = threadIdx.x % 32;
    for (int r = blockIdx.x * 8 + threadIdx.x / 32; r < rows; r += gridDim.x * 8) {
        const I from = order ? order[first + r] : first + r;
        copy_row(x + (I)r * x_cols, (const T*)book[X_AT] + from * x_cols, x_cols, lane);
        copy_row(t + (I)r * t_cols, (const LABEL*)book[T_AT] + from * t_cols, t_cols, lane);
        if (w && lane == 0) w[r] = ((const T*)book[W_AT])[from];
    }
    if (blockIdx.x == 0) {
        const T* given = (const T*)book[NUMBERS] + done * count;
        for (int i = threadIdx.x; i < count; i += 256) numbers[i] = given[i];
        if (threadIdx.x == 0) step[0] = U(book[STEP] + done);
    }
}
"""

_JUDGE = r"""
// Which members had a finite step, and go on; what each lost. One block for all members.
// With a scale of the gradients, which 16 bits make necessary, a step whose gradient was not finite
// is left out and the scale halved; it is doubled behind so many steps that were.
extern "C" __global__ void __launch_bounds__(256, 4) judge(
    I* book, const bool* truth, I apart, const T* loss, I loss_apart, int* going, int* sound,
    I* bad, T* scale, I scale_apart, int members
) {
    const I done = book[DONE];
    const bool stopped = book[STOPPED], at_once = book[STOP_AT_ONCE];
    T* losses = (T*)book[LOSSES] + done * members;
    __shared__ int fault;
    if (threadIdx.x == 0) fault = 0;
    __syncthreads();
    for (int m = threadIdx.x; m < members; m += 256) {
        const bool there = going[m] && !stopped, fine = truth[m * apart];
        losses[m] = there ? loss[m * loss_apart] : T(__int_as_float(0x7fc00000));
        sound[m] = there && fine;
        T* s = scale ? scale + m * scale_apart : 0;
        const bool left_out = s && s[0] > T(1) && isfinite(loss[m * loss_apart]);
        if (there && !fine && !left_out) {
            bad[m] = done + 1;
            going[m] = 0;
            fault = 1;
        } else if (there && s) {
            const bool steady = fine && s[1] + T(1) >= T(STEADY);
            s[0] *= fine ? steady && s[0] < T(LARGEST) ? T(2) : T(1) : T(0.5);
            s[1] = fine && !steady ? s[1] + T(1) : T(0);
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        book[DONE] = done + 1;
        if (fault && at_once) book[STOPPED] = 1;
    }
}
"""

_TOTALS = r"""
// What the blocks of kernels left, added in their order. An entry of the table is a sum: where it
// belongs and its parts are, how far those of members are apart, copies, elements from one to the
// next, elements, kind of sum, and the first block that has to do with it. A block has `wide`
// elements at a time, each added up by several threads.
extern "C" __global__ void __launch_bounds__(256, 4) totals_KIND(const I* table, int entries) {
    typedef KIND X;
    __shared__ X parts[256];
    int at = 0;
    while (at + 1 < entries && (I)blockIdx.x >= table[(at + 1) * 9 + 8]) ++at;
    const I* e = table + at * 9;
    X* out = (X*)e[0] + blockIdx.y * e[2];
    const X* given = (const X*)e[1] + blockIdx.y * e[3];
    const int copies = e[4], size = e[6];
    int wide = 1;
    while (wide < 32 && wide < size) wide *= 2;
    const int j = ((I)blockIdx.x - e[8]) * wide + threadIdx.x % wide;
    const int slices = 256 / wide, slice = threadIdx.x / wide;
    X x = X(0);
    bool some = false;
    for (int c = slice; c < copies && j < size; c += slices) {
        const X y = given[c * e[5] + j];
        x = some ? total(x, y, e[7]) : y;
        some = true;
    }
    parts[threadIdx.x] = x;
    __syncthreads();
    if (slice == 0 && j < size) {
        for (int s = 1; s < slices && s < copies; ++s)
            x = total(x, parts[s * wide + j % wide], e[7]);
        out[j] = x;
    }
}
"""

_GATHER = r"""
// The rows of a table that an index names.
extern "C" __global__ void __launch_bounds__(256, 4) gather(
    T* out, I out_apart, const T* table, I table_apart, const I* index, I index_apart, int rows,
    int cols
) {
    out += blockIdx.y * out_apart;
    table += blockIdx.y * table_apart;
    index += blockIdx.y * index_apart;
    const I count = (I)rows * cols;
    for (I e = (I)blockIdx.x * 256 + threadIdx.x; e < count; e += (I)gridDim.x * 256)
        out[e] = table[index[e / cols] * cols + e % cols];
}
"""

_SCATTER = r"""
// A table of the sums of the rows with each index, in their order; a warp a row of the table.
extern "C" __global__ void __launch_bounds__(256, 4) scatter(
    T* out, I out_apart, const I* index, I index_apart, const T* x, I x_apart, int n, int rows,
    int cols
) {
    out += blockIdx.y * out_apart;
    index += blockIdx.y * index_apart;
    x += blockIdx.y * x_apart;
    const int lane = threadIdx.x % 32, row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= n) return;
    for (int c = 0; c < cols; c += 32) {
        const int j = c + lane;
        T sum = T(0);
        for (int first = 0; first < rows; first += 32) {
            const bool mine = first + lane < rows && index[first + lane] == row;
            unsigned int met = __ballot_sync(0xffffffffu, mine);
            for (; met; met &= met - 1) {
                const int r = first + __ffs(met) - 1;
                if (j < cols) sum += x[(I)r * cols + j];
            }
        }
        if (j < cols) out[(I)row * cols + j] = sum;
    }
}
"""

_PLACES = {
    "X_AT": "x", "T_AT": "t", "W_AT": "w", "ORDER": "order", "NUMBERS": "numbers",
    "LOSSES": "losses", "START": "start", "STEP": "step", "DONE": "done", "STOPPED": "stopped",
    "STOP_AT_ONCE": "stop_at_once",
}  # fmt: skip


def by_hand(program: Program, labels: bool) -> dict[str, str]:
    """Return the texts of the kernels written by hand that a program calls, by name.

    `labels` says whether targets are int64.
    """
    label = f"typedef {'I' if labels else 'T'} LABEL;\n"
    texts = {"stage": label + _STAGE, "judge": _JUDGE}
    for call in program.calls:
        if isinstance(call, Total):
            kind = call.out.kind
            texts[f"totals_{kind}"] = _TOTALS.replace("KIND", kind)
        elif isinstance(call, Gather):
            texts["gather"] = _GATHER
        elif isinstance(call, Scatter):
            texts["scatter"] = _SCATTER
    return {name: _with_places(text).strip() for name, text in texts.items()}


def _with_places(text: str) -> str:
    """A text in which the places of the book are numbers."""
    for word, place in _PLACES.items():
        text = text.replace(f"[{word}]", f"[{BOOK[place]}]")
    return text.replace("STEADY", str(STEADY)).replace("LARGEST", str(LARGEST_SCALE))


_HALVES = {
    "bf16": "#include <cuda_bf16.h>\ntypedef __nv_bfloat16 H;",
    "fp16": "#include <cuda_fp16.h>\ntypedef __half H;",
}


def head(precision: str, half: str = "") -> str:
    """Return what a module of kernels of that precision begins with; see `Program.half`."""
    types = [TYPES.format(real=REAL[precision]), *([_HALVES[half]] if half else [])]
    return "\n".join([*types, _HEAD.strip(), _TOTAL.strip()])
