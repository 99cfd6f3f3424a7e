// The threads of a block as fibres, one block after another; who is next is drawn from a seed.
//
// A fibre that has ended one thread goes on with the next, so that threads which never wait cost a
// call each. One that waits keeps its stack until somebody lets it go on. Of the warps that can run
// one is drawn, and each of its lanes that can run does so once, in an order that is drawn too.
// No header is read: that takes longer than to compile a kernel.
#pragma once

namespace simt {

struct uint3 { unsigned x, y, z; };
typedef uint3 dim3;

constexpr int warpSize = 32;
constexpr int most_threads = 1024;
constexpr int stack_bytes = (1 << 16) + 576;  // or all stacks would fall on the same lines of cache
constexpr unsigned most_shared = 232448, guard = 4096;  // no device lets a block have more

struct Thread {
  void* context[5];  // where it waits, if it does
  char* stack;
  bool parked;
  uint3 index;
  const char* call;  // what it waits in, null if in nothing, and at which line
  int line;
  unsigned mask, width;  // for which lanes of its warp; 0: for the block
  int source;  // the lane that a shuffle reads
  int lead;    // of those that wait together, the lane that came first, and all that have come
  unsigned arrived;
  unsigned long long given, received;
};

struct Launch {  // as in __init__.py
  unsigned grid[3], block[3], shared;
  unsigned long long seed;
  void** arguments;
  char* stacks;
  char* why;
  int room;
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

static Thread threads[most_threads];
static int current, n_threads, n_ended, n_at_barrier;
static unsigned exist[32], ready[32], waiting[32], ended[32];  // lanes, by warp
static unsigned runnable, turn;                   // warps; lanes of the drawn one still to run
static int drawn;

static Launch* launched;
static void (*body)(void**);
static void* home[5];
static char *spare[most_threads], *here;  // stacks nobody uses; the one in use
static int n_spare, fresh;
static unsigned long long state;

alignas(1024) static unsigned char dynamic_memory[most_shared + guard];

// -- chance ---------------------------------------------------------------------------------------

static inline unsigned long long chance() {  // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static inline int one_of(unsigned set) {
  unsigned turned = chance() >> 32 & 31;
  return (__builtin_ctz(set >> turned | set << (-turned & 31)) + turned) & 31;
}

// -- errors ---------------------------------------------------------------------------------------

[[noreturn]] static __attribute__((noinline)) void jump(void** context) {
  __builtin_longjmp(context, 1);
}

[[noreturn]] static __attribute__((noinline, format(printf, 1, 2))) void fail(
    const char* format, ...) {
  uint3 b = blockIdx, t = threads[current].index;
  char* why = launched->why;
  int n = __builtin_snprintf(why, launched->room, "block (%u, %u, %u), thread (%u, %u, %u): ",
                             b.x, b.y, b.z, t.x, t.y, t.z);
  __builtin_va_list rest;
  __builtin_va_start(rest, format);
  __builtin_vsnprintf(why + n, launched->room - n, format, rest);
  __builtin_va_end(rest);
  jump(home);
}

[[noreturn]] static void nobody_can_run() {
  int first = -1;
  for (int t = 0; t < n_threads; ++t) {
    const Thread& it = threads[t];
    if (ended[t >> 5] >> (t & 31) & 1) continue;
    if (first < 0) { first = current = t; continue; }
    const Thread& one = threads[first];
    if (it.call != one.call || it.line != one.line || it.mask != one.mask)
      fail("waits for ever at %s in line %d, for thread %d waits at %s in line %d", one.call,
           one.line, t, it.call, it.line);
  }
  fail("waits for ever at %s in line %d", threads[first].call, threads[first].line);
}

// -- who is next ----------------------------------------------------------------------------------

static int next() {  // the thread that runs now, -1 when all have ended
  if (!turn) {
    if (!runnable) {
      if (n_ended == n_threads) return -1;
      nobody_can_run();
    }
    turn = ready[drawn = one_of(runnable)];
  }
  int lane = one_of(turn);
  turn &= ~(1u << lane);
  if (!(ready[drawn] &= ~(1u << lane))) runnable &= ~(1u << drawn);
  return 32 * drawn + lane;
}

[[noreturn]] static void go_on(int t) {
  Thread& it = threads[t];
  current = t, threadIdx = it.index, here = it.stack, it.parked = false;
  jump(it.context);
}

static void end() {
  int w = current >> 5, lane = current & 31;
  ended[w] |= 1u << lane, ++n_ended;
  for (unsigned left = waiting[w]; left; left &= left - 1) {
    const Thread& it = threads[32 * w + __builtin_ctz(left)];
    if (it.mask >> lane & 1)
      fail("has ended, and thread %d waits for it at %s in line %d (mask 0x%08x)",
           32 * w + __builtin_ctz(left), it.call, it.line, it.mask);
  }
  if (n_at_barrier) fail("has ended, and %d threads wait for it at a barrier", n_at_barrier);
}

[[noreturn]] static void fibre() {
  for (int t = fresh;;) {
    current = t, threadIdx = threads[t].index;
    body(launched->arguments);
    end();
    t = next();
    if (t < 0) jump(home);
    if (threads[t].parked) {
      spare[n_spare++] = here;
      go_on(t);
    }
  }
}

[[noreturn]] static void new_fibre(int t) {
  fresh = t, here = spare[--n_spare];
  char* top = here + stack_bytes;
#if defined(__x86_64__)
  asm volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall *%1" ::"r"(top), "r"(&fibre) : "memory");
#elif defined(__aarch64__)
  asm volatile("mov sp, %0\n\tmov x29, xzr\n\tblr %1" ::"r"(top), "r"(&fibre) : "memory");
#else
#error "fibres are written for x86-64 and aarch64"
#endif
  __builtin_unreachable();
}

static __attribute__((noinline)) void park() {  // returns when somebody has let it go on
  Thread& me = threads[current];
  me.stack = here, me.parked = true;
  if (__builtin_setjmp(me.context)) return;
  int t = next();
  if (threads[t].parked) go_on(t);
  new_fibre(t);
}

// -- a launch -------------------------------------------------------------------------------------

static __attribute__((noinline)) void run_block() {
  n_ended = n_at_barrier = 0, runnable = turn = 0, n_spare = 0;
  for (int t = 0; t < n_threads; ++t) {
    spare[n_spare++] = launched->stacks + (long)stack_bytes * t;
    threads[t].parked = false, threads[t].call = nullptr;
  }
  for (int w = 0; 32 * w < n_threads; ++w) {
    int lanes = n_threads - 32 * w;
    exist[w] = ready[w] = lanes < 32 ? (1u << lanes) - 1 : ~0u;
    waiting[w] = ended[w] = 0, runnable |= 1u << w;
  }
  if (__builtin_setjmp(home)) return;
  new_fibre(next());
}

static unsigned long long common(unsigned long long a, unsigned long long b) {
  return b ? common(b, a % b) : a;
}

static void launch(Launch& it, void (*kernel)(void**), unsigned char* start, unsigned char* stop) {
  launched = &it, body = kernel, it.why[0] = 0;
  gridDim = {it.grid[0], it.grid[1], it.grid[2]};
  blockDim = {it.block[0], it.block[1], it.block[2]};
  n_threads = blockDim.x * blockDim.y * blockDim.z;
  for (unsigned t = 0; t < (unsigned)n_threads; ++t)
    threads[t].index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
  state = (it.seed + 1) * 0x9E3779B97F4A7C15ull | 1;
  for (int i = 0; i < 4; ++i) chance();
  unsigned long long n = (unsigned long long)gridDim.x * gridDim.y * gridDim.z;
  unsigned long long b = (chance() >> 16) % n, step = (chance() >> 16) % n + 1;
  while (common(step, n) != 1) ++step;  // then b meets each block once
  __builtin_memset(dynamic_memory + it.shared, 0xff, guard);
  for (unsigned long long i = 0; i < n && !it.why[0]; ++i, b = (b + step) % n) {
    blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y),
                unsigned(b / gridDim.x / gridDim.y)};
    __builtin_memset(start, 0xff, stop - start);  // floats that are no numbers
    __builtin_memset(dynamic_memory, 0xff, it.shared);
    run_block();
  }
  for (unsigned i = 0; i < guard && !it.why[0]; ++i)
    if (dynamic_memory[it.shared + i] != 0xff)
      __builtin_snprintf(it.why, it.room, "a block wrote to byte %u of its dynamic shared memory, "
                         "which has %u; ask for more with `shared`", it.shared + i, it.shared);
}

}  // namespace simt
