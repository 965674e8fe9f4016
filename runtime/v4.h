/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * The C interface of libv4: load a module, bind a checkpoint to it, run it. This header is the documentation; what is
 * not here is not an interface.
 *
 * Objects. A module is immutable once loaded and may be used by any number of threads. Weights are immutable too. A
 * session is mutable: its calls must not overlap, though they may come from different threads. A session keeps its
 * weights and its module alive and weights keep their module alive, so the handles may be freed in any order.
 *
 * Slots. A session holds as many sequences as its module has slots (v4_module_info.slots, v4c --slots=B), numbered from
 * 0, each with a position and a state of its own. A module with one slot has slot 0. Slots do not see each other: what
 * one of them computes is the same, bit for bit, whatever the others do in the same step.
 *
 * Status. A call that can fail returns NULL on success, else a status which the caller frees with v4_status_free. On
 * failure the outputs of a call are untouched, and so is the session unless the call says otherwise. No call aborts
 * because of its input. Memory that the C++ heap cannot provide ends the process through std::new_handler; big buffers
 * (arena, state) are not on that heap and their absence is an ordinary V4_ENVIRONMENT.
 *
 * Options structs begin with struct_size: set it to sizeof of the struct. Zero in any other field is its default, and
 * a field beyond struct_size is taken as zero, so that older callers keep working.
 *
 * Strings are UTF-8 and end in NUL. Free functions accept NULL.
 */
#ifndef V4_RUNTIME_V4_H
#define V4_RUNTIME_V4_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define V4_API __attribute__((visibility("default")))
#else
#define V4_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------------------------------------------------ */

typedef struct v4_status v4_status;

/* The values are the exit codes of the tools. */
typedef enum v4_code {
  V4_OK = 0,
  V4_INVALID = 1,     /* the input (module, weights, tokens, state file) is wrong; trying again will not help */
  V4_MISUSE = 2,      /* the call itself is wrong: a NULL argument, a bad option */
  V4_ENVIRONMENT = 3, /* the machine cannot do it: memory, disk, file system, instruction set */
  V4_INTERNAL = 70    /* a bug of libv4 */
} v4_code;

/* V4_OK for NULL. */
V4_API v4_code v4_status_code(const v4_status *status);
/* What is wrong, where, and what to do about it; one line. Lives as long as the status; "" for NULL. */
V4_API const char *v4_status_message(const v4_status *status);
V4_API void v4_status_free(v4_status *status);

/* "0.1.0"; static. */
V4_API const char *v4_version(void);

/* ---- Module ------------------------------------------------------------------------------------------------------ */

typedef struct v4_module v4_module;

typedef struct v4_module_options {
  size_t struct_size;
  /* NULL or "cpu"; "cuda" or "cuda:N": GPU N of the NVIDIA driver, else 0; "emu": the emulator of GPU kernels
   * (docs/emulator.md) */
  const char *device;
} v4_module_options;

/* Reads and verifies the module at `path` (docs/module-format.md) and prepares its code for the device. `options` may
 * be NULL. The file is not used after the call. Errors: V4_INVALID for a file that cannot be read or does not verify or
 * has nothing for the device; V4_MISUSE for another name of a device; V4_ENVIRONMENT when this machine lacks an
 * instruction set that the module needs, a driver that is new enough, a GPU that runs the code, or memory. */
V4_API v4_status *v4_module_load(const char *path, const v4_module_options *options, v4_module **out);

/* The same from memory; `data` is copied. */
V4_API v4_status *v4_module_load_memory(const void *data, size_t size, const v4_module_options *options,
                                        v4_module **out);

V4_API void v4_module_free(v4_module *module);

typedef struct v4_module_info {
  size_t struct_size; /* set by the caller */
  const char *model_type;
  const char *numerics;
  const char *kv;
  const char *plan;
  uint32_t vocab_size;
  uint32_t hidden_size;
  uint32_t streams;
  uint32_t layers;
  uint64_t max_context; /* positions of every slot */
  int32_t eos_token;    /* -1: none */
  int32_t logits_all;
  int32_t mtp;
  uint32_t max_rows;          /* tokens of the largest entry point */
  uint64_t arena_bytes;       /* scratch memory of a session */
  uint64_t state_cache_bytes; /* window, compressed entries and index keys of a session: of all slots, MTP included */
  uint64_t state_rows_bytes;  /* compressor rows of a session, of all slots */
  uint64_t io_bytes;          /* token, hidden and logits buffers of a session */
  uint32_t slots;             /* sequences of a session */
  const char *device;         /* where its code runs: "cpu", "GPU 0 (NVIDIA H100, compute capability 9.0, driver ...)" */
  const char *target;         /* of the module: "cpu", "nvptx:sm_90a" */
} v4_module_info;

/* Fills `info` up to its struct_size. The strings live as long as the module. */
V4_API v4_status *v4_module_get_info(const v4_module *module, v4_module_info *info);

/* ---- Weights ----------------------------------------------------------------------------------------------------- */

typedef struct v4_weights v4_weights;

typedef struct v4_weights_options {
  size_t struct_size;
  uint32_t threads; /* threads that pack, the caller included; 0: one per CPU this process may use */
  void *user;
  /* Called on the calling thread before the first byte is moved into memory and from time to time after; `total` bytes
   * are to be moved. A result other than 0 ends the call with V4_ENVIRONMENT. */
  int (*progress)(void *user, uint64_t done, uint64_t total);
} v4_weights_options;

/* Binds weights to the module. `path` is a checkpoint directory, or a file that v4-pack wrote. Both are checked against
 * the module both ways: every tensor that it reads must be there with the expected type, shape and byte range, and
 * every other tensor of a checkpoint must belong to a family that the module leaves out on purpose. Payloads stay in
 * the mapped files; those of a checkpoint that the module wants in a layout of its own, or that are not aligned as the
 * device needs them, are moved into memory, and for a GPU all that its code uses are moved into its memory. The files must
 * not be changed while the weights exist. `options` may be
 * NULL. V4_ENVIRONMENT, before any memory is taken, when the weights need more than is available. */
V4_API v4_status *v4_weights_load(const v4_module *module, const char *path, const v4_weights_options *options,
                                  v4_weights **out);

/* Makes weights out of nothing, for measurements: random values in the module's formats that keep activations finite.
 * The same seed gives the same values, those that v4-synth writes for it. Takes memory for all parameters;
 * V4_ENVIRONMENT when there is not enough of it. */
V4_API v4_status *v4_weights_random(const v4_module *module, uint64_t seed, v4_weights **out);

V4_API void v4_weights_free(v4_weights *weights);

/* ---- Session ----------------------------------------------------------------------------------------------------- */

typedef struct v4_session v4_session;

typedef struct v4_launch_event {
  const char *entry;  /* "prefill_16" */
  const char *launch; /* "layers.3.attn.wq_a" */
  const char *kernel;
  uint64_t begin_ns; /* since the session was created */
  uint64_t duration_ns;
  uint64_t bytes;         /* sum of the extents that the launch may touch; a table of experts counts whole */
  int32_t bytes_is_bound; /* 1 when `bytes` counts such a table, of which only some rows are read */
  uint32_t workgroups;
} v4_launch_event;

typedef struct v4_tap_event {
  const char *name;
  const char *dtype; /* as in safetensors: "F32", "I32", "BF16", ... */
  uint32_t slot;
  uint64_t position; /* of the first row */
  size_t rows;       /* tokens of the slot in this call */
  size_t row_bytes;
  const uint64_t *row_shape;
  size_t row_rank;
  const void *data;
} v4_tap_event;

/* Callbacks run on the thread that called into the session, while the call is running; they must not call back into
 * that session. Pointers in events live until the callback returns, the names as long as the module. */
typedef struct v4_observer {
  size_t struct_size;
  void *user;
  /* One row of logits: of every token when the module has logits_all, else of the last token of each entry call. */
  void (*logits)(void *user, uint32_t slot, uint64_t position, const float *row, size_t vocab);
  /* The MTP block's logits from the residual at `position` and the token at position + 1. */
  void (*mtp_logits)(void *user, uint32_t slot, uint64_t position, const float *row, size_t vocab);
  void (*tap)(void *user, const v4_tap_event *event);
  /* Set only when profiling: it costs two clock reads per launch. */
  void (*launch)(void *user, const v4_launch_event *event);
} v4_observer;

enum {
  /* Fill arena and outputs with NaN before every entry call: shows reads of memory that nothing wrote. */
  V4_SESSION_POISON = 1
};

typedef struct v4_session_options {
  size_t struct_size;
  uint32_t threads; /* threads that run workgroups, the caller included; 0: one per CPU this process may use */
  uint32_t chunk;   /* most tokens per entry call; 0: as many as the largest entry takes */
  uint32_t flags;
  /* Values to report through the observer; '*' stands for any text without '.'. The names are copied. A name that no
   * entry point has is V4_INVALID. */
  const char *const *taps;
  size_t num_taps;
  const v4_observer *observer; /* copied; may be NULL */
  uint64_t emu_order;          /* device emu: seed of the order in which threads run; changes no result of a right kernel */
  uint32_t emu_unchecked;      /* device emu: 1 leaves out the checks for races and for reads of unwritten shared memory */
} v4_session_options;

/* Makes a session whose slots are empty: position 0, state zero. `options` may be NULL. */
V4_API v4_status *v4_session_create(const v4_module *module, const v4_weights *weights,
                                    const v4_session_options *options, v4_session **out);

V4_API void v4_session_free(v4_session *session);

/* In every call below that takes a slot, V4_MISUSE when the session has no such slot; 0 or NULL where no status is
 * returned. Other slots are never changed. */

/* A device may fail while it runs (the emulator when it finds a fault, a device that is lost): append and step then give
 * V4_ENVIRONMENT, and the slots that they were for keep position and logits and take no tokens until they are emptied or
 * loaded. On a GPU, a fault behind the first call of an entry names the entry alone; with CUDA_LAUNCH_BLOCKING=1 in the
 * environment every launch is waited for, which is slow, and the kernel is named. */

/* Empties a slot. V4_ENVIRONMENT when the device cannot. */
V4_API v4_status *v4_session_reset(v4_session *session, uint32_t slot);

/* Number of tokens so far. */
V4_API uint64_t v4_session_position(const v4_session *session, uint32_t slot);

/* Appends `count` tokens at the slot's position. Entry points are chosen by length: the smallest that fits what is
 * left, the largest as long as nothing fits; one token takes the decode entry, with all other slots inactive. Any split
 * of a sequence into calls gives the same state and logits within rounding, and the result does not depend on the
 * number of threads. Errors, before anything is changed: V4_INVALID for a token outside the vocabulary or a sequence
 * longer than max_context; V4_MISUSE for count == 0. */
V4_API v4_status *v4_session_append(v4_session *session, uint32_t slot, const int32_t *tokens, size_t count);

/* Appends one token to each of several slots in one run of the decode entry, which reads the weights once: tokens[s] is
 * for slot s, -1 for a slot that takes none. `count` is the number of slots. Errors, before anything is changed:
 * V4_INVALID as for append; V4_MISUSE for another count, or when every token is -1. */
V4_API v4_status *v4_session_step(v4_session *session, const int32_t *tokens, size_t count);

/* Logits after the slot's last token, `vocab_size` floats owned by the session and valid until its next call; NULL
 * before the first token was appended to the slot. */
V4_API const float *v4_session_logits(const v4_session *session, uint32_t slot);

/* Whether MTP logits are being produced. False when the module has no MTP block, and after loading a state that lacks
 * the residual of its last token, which the block needs to go on. */
V4_API int v4_session_mtp_active(const v4_session *session, uint32_t slot);

/* Writes the slot's state as a safetensors file: fp32 logical values, `position`, and for MTP the last residual
 * ("mtp.hidden"). The file appears under its name only once it is complete. */
V4_API v4_status *v4_session_save(const v4_session *session, uint32_t slot, const char *path);

/* Replaces the slot's state by that of a file, whatever slot it was saved from. Every name, shape and value is checked.
 * If the call fails after the checks of names and shapes, the slot is empty (as after reset). */
V4_API v4_status *v4_session_load(v4_session *session, uint32_t slot, const char *path);

/* Elements `first` .. `first + count` (row-major, logical shape) of state tensor `name` into `out`. */
typedef void (*v4_state_source)(void *user, const char *name, uint64_t first, size_t count, float *out);

/* Replaces the slot's state by computed values, as if loaded from a file of `position` tokens. */
V4_API v4_status *v4_session_fill(v4_session *session, uint32_t slot, uint64_t position, v4_state_source source,
                                  void *user);

/* The launch that a session of this process is running, for a crash handler: "entry/launch", or "" outside launches.
 * Async-signal-safe. */
V4_API const char *v4_current_launch(void);

/* ---- Sampling ---------------------------------------------------------------------------------------------------- */

typedef struct v4_sampler v4_sampler;

typedef struct v4_sampler_options {
  size_t struct_size;
  double temperature; /* 0: greedy, the lowest id among equals */
  double top_p;       /* 0 or 1: all tokens */
  uint64_t seed;
} v4_sampler_options;

/* V4_MISUSE for a temperature below 0 or top_p outside 0..1. A sampler is used by one thread at a time. */
V4_API v4_status *v4_sampler_create(const v4_sampler_options *options, v4_sampler **out);
V4_API void v4_sampler_free(v4_sampler *sampler);

/* Picks a token. Same seed, options and logits: same tokens. V4_INVALID when a logit is NaN or +infinity, or all are
 * -infinity. */
V4_API v4_status *v4_sampler_pick(v4_sampler *sampler, const float *logits, size_t vocab, int32_t *token);

#ifdef __cplusplus
}
#endif

#endif /* V4_RUNTIME_V4_H */
