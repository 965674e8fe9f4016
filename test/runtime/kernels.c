// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernels of the tests' toy model, in the module format's calling convention (docs/module-format.md). The model has
// every kind of state in its smallest form, so that splits into chunks, state files and MTP can go wrong in it the way
// they can in a real one. `width` floats per token; Fixture.cpp computes the same values from the whole history.
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef long long int64_t;
typedef int int32_t;

enum { width = 8, window = 4, overlapRatio = 4, plainRatio = 3, experts = 4 };

static float fromBf16(uint16_t bits) {
  union {
    uint32_t bits;
    float value;
  } out = {(uint32_t)bits << 16};
  return out.value;
}

// tokens, span, embedding -> rows. One workgroup per row.
void toy_embed(void *const *b, uint32_t row) {
  const int32_t *tokens = b[0], *span = b[1];
  const float *embedding = b[2];
  float *out = b[3];
  if ((int32_t)row >= span[1])
    return;
  for (int c = 0; c < width; ++c)
    out[row * width + c] = embedding[tokens[row] * width + c];
}

// One step of a compressor: stores the row, and at the end of a block appends an entry.
static void compress(const float *x, int p, int ratio, int overlap, float *kv, float *score, float *entries) {
  int first = overlap ? ratio : 0, at = first + p % ratio;
  for (int c = 0; c < width; ++c) {
    kv[at * width + c] = x[c];
    score[at * width + c] = 0.125f * (float)(p % ratio + 1);
  }
  if ((p + 1) % ratio != 0)
    return;
  for (int c = 0; c < width; ++c) {
    float sum = 0;
    for (int r = 0; r < first + ratio; ++r) {
      float weight = score[r * width + c];
      if (weight > -1e30f) // rows of a block that does not exist hold -infinity
        sum += weight * kv[r * width + c];
    }
    entries[(p / ratio) * width + c] = sum;
  }
  for (int i = 0; i < first * width; ++i) {
    kv[i] = kv[i + first * width];
    score[i] = score[i + first * width];
  }
}

// span, rows, window, entries, kv, score (overlapping), the same three (plain), expert base, expert offsets, stacked
// base, stacked offsets, bias -> out. One workgroup: the toy walks the tokens in order.
void toy_mix(void *const *b, uint32_t workgroup) {
  const int32_t *span = b[0];
  const float *rows = b[1];
  float *ring = b[2], *entries = b[3], *kv = b[4], *score = b[5], *plainEntries = b[6], *plainKv = b[7],
        *plainScore = b[8];
  const char *expertBase = b[9], *stackedBase = b[11];
  const int64_t *expertOffsets = b[10], *stackedOffsets = b[12];
  const uint16_t *bias = b[13];
  float *out = b[14];
  for (int i = 0; i < span[1]; ++i) {
    int p = span[0] + i;
    const float *x = rows + i * width;
    compress(x, p, overlapRatio, 1, kv, score, entries);
    compress(x, p, plainRatio, 0, plainKv, plainScore, plainEntries);
    const float *expert = (const float *)(expertBase + expertOffsets[p % experts]);
    const float *stacked = (const float *)(stackedBase + stackedOffsets[p % experts]);
    for (int c = 0; c < width; ++c) {
      float y = x[c] * expert[c] + stacked[c] + fromBf16(bias[c]);
      for (int q = p > window ? p - window : 0; q < p; ++q)
        y += 0.25f * ring[(q % window) * width + c];
      for (int j = 0; j < (p + 1) / overlapRatio; ++j)
        y += 0.5f * entries[j * width + c];
      for (int j = 0; j < (p + 1) / plainRatio; ++j)
        y -= 0.25f * plainEntries[j * width + c];
      out[i * width + c] = y;
    }
    for (int c = 0; c < width; ++c)
      ring[(p % window) * width + c] = x[c];
  }
}

// span, rows, head -> logits of every row. One workgroup per row.
void toy_head_all(void *const *b, uint32_t row) {
  const int32_t *span = b[0];
  const float *rows = b[1], *head = b[2];
  float *logits = b[3];
  if ((int32_t)row >= span[1])
    return;
  for (int v = 0; v < 32; ++v) {
    float sum = 0;
    for (int c = 0; c < width; ++c)
      sum += rows[row * width + c] * head[v * width + c];
    logits[row * 32 + v] = sum;
  }
}

// The same for the last valid row. One workgroup per 8 tokens of the vocabulary.
void toy_head_last(void *const *b, uint32_t workgroup) {
  const int32_t *span = b[0];
  const float *rows = (const float *)b[1] + (span[1] - 1) * width, *head = b[2];
  float *logits = b[3];
  for (uint32_t v = workgroup * 8; v < workgroup * 8 + 8; ++v) {
    float sum = 0;
    for (int c = 0; c < width; ++c)
      sum += rows[c] * head[v * width + c];
    logits[v] = sum;
  }
}

// span, rows -> hidden. One workgroup per row.
void toy_hidden(void *const *b, uint32_t row) {
  const int32_t *span = b[0];
  const float *rows = b[1];
  float *hidden = b[2];
  if ((int32_t)row >= span[1])
    return;
  for (int c = 0; c < width; ++c)
    hidden[row * width + c] = rows[row * width + c];
}

// span, positions, embedded tokens, hidden, window -> out. The MTP block: one workgroup.
void toy_mtp(void *const *b, uint32_t workgroup) {
  const int32_t *span = b[0], *positions = b[1];
  const float *embedded = b[2], *hidden = b[3];
  float *ring = b[4], *out = b[5];
  for (int i = 0; i < span[1]; ++i) {
    int p = positions[i];
    for (int c = 0; c < width; ++c) {
      float y = hidden[i * width + c] - embedded[i * width + c];
      for (int q = p > window ? p - window : 0; q < p; ++q)
        y += 0.5f * ring[(q % window) * width + c];
      out[i * width + c] = y;
    }
    for (int c = 0; c < width; ++c)
      ring[(p % window) * width + c] = hidden[i * width + c];
  }
}

// counter -> counter. Adds one per workgroup; only correct when the counter is cleared before the launch.
void toy_count(void *const *b, uint32_t workgroup) {
  __atomic_fetch_add((int32_t *)b[0], 1, __ATOMIC_RELAXED);
}

// out[w] += w + 1 for every workgroup: shows a workgroup that ran twice or not at all.
void toy_touch(void *const *b, uint32_t workgroup) {
  ((int32_t *)b[0])[workgroup] += (int32_t)workgroup + 1;
}

// Reads through pointers that the loader must relocate.
static const int32_t first[] = {1, 2, 3}, second[] = {40, 50, 60};
const int32_t *const toy_pointers[] = {first, second, first + 1, second + 2};
void toy_table(void *const *b, uint32_t workgroup) {
  const int32_t *const volatile *table = toy_pointers;
  ((int32_t *)b[0])[workgroup] = *table[workgroup % 4];
}

// A null store, for the crash report.
void toy_crash(void *const *b, uint32_t workgroup) {
  *(volatile int *)0 = 1;
}
