// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The module verifier: every truncation, seeded mutants, and one hand-made mutant per diagnostic.
#include "runtime/Module.h"
#include "test/runtime/Fixture.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <set>

using namespace v4;
using namespace v4::test;
using fbs::BindingKind;
using fbs::DType;
using fbs::StateKind;

namespace {

/// Verifies bytes at an aligned address, as the loader does.
Status verify(std::string_view bytes) {
  auto file = ModuleFile::copy(bytesOf(bytes));
  return file ? Status() : file.takeStatus();
}

std::string payloadOf(const std::string &module) {
  return module.substr(moduleHeaderSize);
}

template <typename T> void store(std::string &bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

TEST(ModuleVerify, TheToyVerifies) {
  for (bool all : {true, false})
    for (bool mtp : {true, false}) {
      Status status = verify(moduleBytes(*toyModule({.logitsAll = all, .mtp = mtp})));
      EXPECT_TRUE(status.ok()) << status.message();
    }
}

TEST(ModuleVerify, EveryTruncationIsRefused) {
  std::string module = moduleBytes(*toyModule());
  for (size_t length = 0; length != module.size(); ++length) {
    std::string cut = module.substr(0, length);
    EXPECT_FALSE(verify(cut).ok()) << length;
    // Also with a header that claims the shorter length, so that the later steps are reached.
    if (length >= moduleHeaderSize) {
      Status status = verify(withHeader(payloadOf(cut)));
      EXPECT_FALSE(status.ok()) << length;
    }
  }
  EXPECT_FALSE(verify(module + "x").ok());
}

/// The image is trusted code: the metadata is what the verifier answers for. The loader must survive both.
std::pair<size_t, size_t> imageRange(const std::string &module) {
  auto file = ModuleFile::copy(bytesOf(module));
  EXPECT_TRUE(file);
  const auto *data = file->root().targets()->Get(0)->images()->Get(0)->data();
  size_t begin = static_cast<size_t>(reinterpret_cast<const std::byte *>(data->data()) - file->bytes().data());
  return {begin, begin + data->size()};
}

TEST(ModuleVerify, MutantsNeverCrash) {
  std::string module = moduleBytes(*toyModule());
  auto [imageBegin, imageEnd] = imageRange(module);
  std::mt19937 generator(2026);
  std::set<std::string> diagnostics;
  unsigned accepted = 0;
  for (int round = 0; round != 20000; ++round) {
    std::string payload = payloadOf(module);
    for (unsigned edits = 1 + generator() % 3; edits; --edits) {
      size_t at;
      do // code is most of the file; look for trouble in the metadata, and sometimes in the ELF headers
        at = generator() % payload.size();
      while (at + moduleHeaderSize >= imageBegin + 1024 && at + moduleHeaderSize < imageEnd);
      switch (generator() % 4) {
      case 0:
        payload[at] = static_cast<char>(generator());
        break;
      case 1:
        payload[at] = static_cast<char>(payload[at] ^ (1 << generator() % 8));
        break;
      case 2:
        payload[at] = static_cast<char>(generator() % 2 ? 0xFF : 0);
        break;
      case 3: { // a whole word: sizes, offsets, counts
        const uint32_t words[] = {0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, static_cast<uint32_t>(generator())};
        at = std::min(at / 4 * 4, payload.size() - 4);
        store(payload, at, words[generator() % 6]);
        break;
      }
      }
    }
    auto file = ModuleFile::copy(bytesOf(withHeader(payload)));
    if (!file) {
      std::string message(file.takeStatus().message());
      diagnostics.insert(message.substr(message.rfind(": ") + 1).substr(0, 12));
      continue;
    }
    ++accepted;
    auto loaded = Module::load(std::move(*file), "cpu");
    if (!loaded)
      diagnostics.insert(std::string(loaded.takeStatus().message()).substr(0, 24));
  }
  EXPECT_GT(accepted, 100u) << "mutants of names and weights are harmless, so some must pass";
  EXPECT_GT(diagnostics.size(), 30u) << "the mutants must reach past the structural check";
}

TEST(ModuleVerify, HeaderDiagnostics) {
  std::string module = moduleBytes(*toyModule());
  auto refused = [&](const char *text, auto edit) {
    std::string copy = module;
    edit(copy);
    Status status = verify(copy);
    EXPECT_EQ(status.code(), V4_INVALID);
    EXPECT_NE(status.message().find(text), std::string_view::npos) << status.message();
  };
  refused("does not begin with V4CM", [](std::string &m) { m[0] = 'X'; });
  refused("does not begin with V4CM", [](std::string &m) { m.clear(); });
  refused("has format 2.0, this runtime reads 1.x", [](std::string &m) { m[4] = 2; });
  refused("truncated inside its header (63 of 64 bytes)", [](std::string &m) { m.resize(63); });
  refused("header size is 65", [](std::string &m) { m[8] = 65; });
  refused("flags or reserved bytes", [](std::string &m) { m[12] = 1; });
  refused("flags or reserved bytes", [](std::string &m) { m[63] = 1; });
  refused("promises", [](std::string &m) { m.pop_back(); });
  refused("promises 18446744073709551615 bytes", [](std::string &m) { store(m, 16, UINT64_MAX); });
  refused("checksum is wrong", [](std::string &m) { m.back() = static_cast<char>(m.back() + 1); });
  refused("is too short or too long", [](std::string &m) { m = withHeader("short"); });
  refused("identifier V4MD", [](std::string &m) {
    std::string payload = payloadOf(m);
    payload[4] = 'X';
    m = withHeader(payload);
  });
  refused("structure is damaged", [](std::string &m) {
    std::string payload = payloadOf(m);
    store(payload, 0, uint32_t(0x7FFFFFF0));
    m = withHeader(payload);
  });
  module[6] = 9; // a newer minor version is fine
  Status status = verify(module);
  EXPECT_TRUE(status.ok()) << status.message();
}

/// One defect and a part of the message that it must give.
struct Defect {
  const char *text;
  std::function<void(fbs::ModuleT &)> edit;
};

fbs::EntryT &entry(fbs::ModuleT &m, size_t i) {
  return *m.targets[0]->entries[i];
} // decode, prefill_4, prefill_8, mtp_*
fbs::LaunchT &mix(fbs::ModuleT &m) {
  return *entry(m, 0).launches[1];
}
fbs::ParameterT &table(fbs::ModuleT &m) {
  return *m.parameters[2];
} // stacked in one tensor
fbs::PhaseT &phase(fbs::ModuleT &m) {
  return *m.targets[0]->kernels[0]->phases[0];
}

const Defect defects[] = {
    {"module: it has no provenance", [](auto &m) { m.provenance.reset(); }},
    {"provenance: producer, numerics and kv must be given", [](auto &m) { m.provenance->kv.clear(); }},
    {"provenance: an empty prefix", [](auto &m) { m.provenance->ignored.push_back(""); }},
    {"module: it has no model", [](auto &m) { m.model.reset(); }},
    {"model: model_type must be given", [](auto &m) { m.model->model_type.clear(); }},
    {"model: vocab_size 0", [](auto &m) { m.model->vocab_size = 0; }},
    {"model: vocab_size 4294967295", [](auto &m) { m.model->vocab_size = UINT32_MAX; }},
    {"model: hidden_size 0", [](auto &m) { m.model->hidden_size = 0; }},
    {"and streams 0", [](auto &m) { m.model->streams = 0; }},
    {"model: max_context 0", [](auto &m) { m.model->max_context = 0; }},
    {"model: max_context 2147483648", [](auto &m) { m.model->max_context = uint64_t(1) << 31; }},
    {"model: slots 0 is outside 1..1024", [](auto &m) { m.model->slots = 0; }},
    {"model: slots 1025 is outside", [](auto &m) { m.model->slots = 1025; }},
    {"entry 0 'decode': 1 rows do not fit its kind", [](auto &m) { m.model->slots = 2; }},
    {"model: eos_token 32 is neither", [](auto &m) { m.model->eos_token = 32; }},
    {"model: eos_token -2 is neither", [](auto &m) { m.model->eos_token = -2; }},

    {"parameter 0: it has no name", [](auto &m) { m.parameters[0]->name.clear(); }},
    {"its name contains a NUL character", [](auto &m) { m.parameters[0]->name = std::string("a\0b", 3); }},
    {"parameter 1 'embed': its name is taken", [](auto &m) { m.parameters[1]->name = "embed"; }},
    {"parameter 0 'embed': element type 9 is unknown", [](auto &m) { m.parameters[0]->dtype = DType(9); }},
    {"parameter 0 'embed': it has no shape", [](auto &m) { m.parameters[0]->shape.clear(); }},
    {"rank 9 is above the limit of 8", [](auto &m) { m.parameters[0]->shape.assign(9, 1); }},
    {"shape [32, 0] has an extent of 0", [](auto &m) { m.parameters[0]->shape = {32, 0}; }},
    {"has more bytes than can be addressed", [](auto &m) { m.parameters[0]->shape = {uint64_t(1) << 62, 2}; }},
    {"has more bytes than can be addressed",
     [](auto &m) { m.parameters[0]->shape = {uint64_t(1) << 40, uint64_t(1) << 40}; }},
    {"layout 'packed' is unknown", [](auto &m) { m.parameters[0]->layout = "packed"; }},
    {"parameter 2 'stacked': layout rows16 needs a multiple of 16 rows of whole dwords (F8_E8M0: bytes), found F32 [4, 8] "
     "as a table",
     [](auto &m) { table(m).layout = "rows16"; }},
    {"layout rows16 needs a multiple of 16 rows of whole dwords (F8_E8M0: bytes), found F32 [31, 8]",
     [](auto &m) { m.parameters[0]->layout = "rows16", m.parameters[0]->shape[0] = 31; }},
    {"layout rows16 needs a multiple of 16 rows of whole dwords (F8_E8M0: bytes), found BF16 [8]",
     [](auto &m) { m.parameters[3]->layout = "rows16"; }},
    {"layout rows16 needs a multiple of 16 rows of whole dwords (F8_E8M0: bytes), found BF16 [16, 3]",
     [](auto &m) {
       m.parameters[0]->layout = "rows16", m.parameters[0]->shape = {16, 3};
       m.parameters[0]->dtype = m.parameters[0]->source->dtype = DType::BF16;
     }},
    {"layout rows16 needs a multiple of 16 rows of whole dwords (F8_E8M0: bytes), found I64 [16, 8]",
     [](auto &m) {
       m.parameters[0]->layout = "rows16", m.parameters[0]->shape = {16, 8};
       m.parameters[0]->dtype = m.parameters[0]->source->dtype = DType::I64;
     }},
    {"a table of 3 rows has the shape [4, 8]", [](auto &m) { m.parameters[1]->rows = 3; }},
    {"it names no checkpoint tensor", [](auto &m) { m.parameters[0]->source.reset(); }},
    {"it names no checkpoint tensor", [](auto &m) { m.parameters[0]->source->tensor.clear(); }},
    {"source 'embed.weight': it has no shape", [](auto &m) { m.parameters[0]->source->shape.clear(); }},
    {"BF16 elements cannot be read as F32", [](auto &m) { m.parameters[0]->source->dtype = DType::BF16; }},
    {"offset 2 or stride 0 falls inside an element", [](auto &m) { m.parameters[0]->source->offset = 2; }},
    {"offset 32 or stride 66 falls inside an element", [](auto &m) { table(m).source->stride = 66; }},
    {"its name holds {e} twice", [](auto &m) { m.parameters[1]->source->tensor = "{e}.{e}"; }},
    {"its name holds {e}, but the parameter is not a table",
     [](auto &m) { m.parameters[0]->source->tensor = "x.{e}"; }},
    {"stride 8 has no meaning here", [](auto &m) { m.parameters[0]->source->stride = 8; }},
    {"stride 8 has no meaning here", [](auto &m) { m.parameters[1]->source->stride = 8; }},
    {"a table of 4 rows is too small for the model's 5 experts per token",
     [](auto &m) { m.model->experts_per_token = 5; }},
    {"stride 16 makes rows of 32 bytes overlap", [](auto &m) { table(m).source->stride = 16; }},
    {"the parameter reaches beyond the tensor's 1024 bytes", [](auto &m) { m.parameters[0]->source->offset = 4; }},
    {"the parameter reaches beyond the tensor's 256 bytes", [](auto &m) { table(m).source->offset = 36; }},
    {"the parameter reaches beyond", [](auto &m) { table(m).source->stride = UINT64_MAX - 3; }},
    {"the parameter reaches beyond", [](auto &m) { m.parameters[1]->source->offset = 4; }},

    {"state 0: it has no name", [](auto &m) { m.states[0]->name.clear(); }},
    {"state 1 'layers.0.attn.window': its name is taken", [](auto &m) { m.states[1]->name = m.states[0]->name; }},
    {"the name has another meaning in a state file", [](auto &m) { m.states[0]->name = "position"; }},
    {"the name has another meaning in a state file", [](auto &m) { m.states[0]->name = "mtp.hidden"; }},
    {"state 0 'layers.0.attn.window': element type 7 is unknown", [](auto &m) { m.states[0]->dtype = DType(7); }},
    {"state of type I32 is not supported", [](auto &m) { m.states[0]->dtype = DType::I32; }},
    {"0 quantised columns of 0 bits do not fit its type", [](auto &m) { m.states[0]->dtype = DType::I8; }},
    {"codes of 5 bits are unknown", [](auto &m) { m.states[0]->bits = 5; }},
    {"32 quantised columns of 4 bits do not fit its type", [](auto &m) { m.states[0]->quantized = 32, m.states[0]->bits = 4; }},
    {"32 quantised columns of 8 are no whole blocks of 32",
     [](auto &m) { m.states[0]->dtype = DType::BF16, m.states[0]->quantized = 32, m.states[0]->bits = 4; }},
    {"rows of 8 bytes where 17 are needed",
     [](auto &m) {
       m.states[0]->dtype = DType::I8, m.states[0]->columns = 32, m.states[0]->quantized = 32, m.states[0]->bits = 4;
     }},
    {"rows of 8 columns where 5 are needed", [](auto &m) { m.states[0]->columns = 5; }},
    {"shape [4, 4, 2] is not of rank 2", [](auto &m) { m.states[0]->shape = {4, 4, 2}; }},
    {"state kind 4 is unknown", [](auto &m) { m.states[0]->kind = StateKind(4); }},
    {"ratio 4 does not fit its kind", [](auto &m) { m.states[0]->ratio = 4; }},
    {"ratio 0 does not fit its kind", [](auto &m) { m.states[1]->ratio = 0; }},
    {"9 entries of 4 tokens are too few for max_context 40", [](auto &m) { m.states[1]->shape = {9, 8}; }},
    {"8 rows do not hold the blocks of ratio 5", [](auto &m) { m.states[2]->ratio = 5; }},
    {"8 rows do not hold the blocks of ratio 4", [](auto &m) { m.states[2]->overlap = false; }},
    {"3 rows do not hold the blocks of ratio 3", [](auto &m) { m.states[6]->overlap = true; }},
    {"the states together have more bytes", [](auto &m) { m.states[0]->shape = {uint64_t(1) << 50, 1}; }},

    {"module: it has no target", [](auto &m) { m.targets.clear(); }},
    {"target 0: it has no name", [](auto &m) { m.targets[0]->name.clear(); }},
    {"it needs a feature without a name", [](auto &m) { m.targets[0]->features.push_back(""); }},
    {"target 0 'cpu': it has no executable image", [](auto &m) { m.targets[0]->images.clear(); }},
    {"image 0: image kind 3 is unknown", [](auto &m) { m.targets[0]->images[0]->kind = fbs::ImageKind(3); }},
    {"image 0: it names no architecture", [](auto &m) { m.targets[0]->images[0]->arch.clear(); }},
    {"image 0: it holds no code", [](auto &m) { m.targets[0]->images[0]->data.clear(); }},
    {"kernel 0: it has no name", [](auto &m) { m.targets[0]->kernels[0]->name.clear(); }},
    {"kernel 1 'toy_embed_1': its name is taken", [](auto &m) { m.targets[0]->kernels[1]->name = "toy_embed_1"; }},
    {"it has no phase", [](auto &m) { m.targets[0]->kernels[0]->phases.clear(); }},
    {"phase 0: it names no symbol", [](auto &m) { phase(m).symbol.clear(); }},
    {"phase 0: it has no grid", [](auto &m) { phase(m).grid.reset(); }},
    {"grid 0x1x1 is empty", [](auto &m) { *phase(m).grid = fbs::Dim3(0, 1, 1); }},
    {"grid 65536x65536x1 is empty or has 2^32", [](auto &m) { *phase(m).grid = fbs::Dim3(65536, 65536, 1); }},
    {"has 2^32 workgroups", [](auto &m) { *phase(m).grid = fbs::Dim3(UINT32_MAX, UINT32_MAX, UINT32_MAX); }},
    {"block 1x0x1 is empty", [](auto &m) { *phase(m).block = fbs::Dim3(1, 0, 1); }},
    {"cluster 1x1x0 is empty", [](auto &m) { phase(m).cluster = std::make_unique<fbs::Dim3>(1, 1, 0); }},
    {"a workgroup on a CPU has one thread", [](auto &m) { *phase(m).block = fbs::Dim3(32, 1, 1); }},
    {"a workgroup on a CPU has one thread", [](auto &m) { phase(m).shared_bytes = 4; }},
    {"a workgroup on a CPU has one thread", [](auto &m) { phase(m).cooperative = true; }},
    {"a workgroup on a CPU has one thread", [](auto &m) { phase(m).programmatic = true; }},
    {"target 0 'nvptx:90a': it is for no chip like sm_90a", [](auto &m) { m.targets[0]->name = "nvptx:90a"; }},
    {"GPU code is for a chip like sm_90a, not 'sm_1000000000'",
     [](auto &m) {
       m.targets[0]->images[0]->kind = fbs::ImageKind::Ptx;
       m.targets[0]->images[0]->arch = "sm_1000000000";
     }},
    {"phase 0: it has no block", [](auto &m) { m.targets[0]->name = "emu:sm_90a", phase(m).block.reset(); }},
    {"block 1025x1x1 has more than 1024 threads",
     [](auto &m) { m.targets[0]->name = "emu:sm_90a", *phase(m).block = fbs::Dim3(1025, 1, 1); }},
    {"block 1024x2x1 has more than 1024 threads",
     [](auto &m) { m.targets[0]->name = "nvptx:sm_80", *phase(m).block = fbs::Dim3(1024, 2, 1); }},
    {"grid 1x65536x1 exceeds 2147483647x65535x65535",
     [](auto &m) { m.targets[0]->name = "nvptx:sm_80", *phase(m).grid = fbs::Dim3(1, 65536, 1); }},
    {"232449 bytes of shared memory are more than 232448",
     [](auto &m) { m.targets[0]->name = "nvptx:sm_80", phase(m).shared_bytes = 232449; }},

    {"target 0 'cpu': it has no decode entry", [](auto &m) { m.targets[0]->entries.clear(); }},
    {"entry 0: it has no name", [](auto &m) { entry(m, 0).name.clear(); }},
    {"entry 1 'decode': its name is taken", [](auto &m) { entry(m, 1).name = "decode"; }},
    {"entry kind 4 is unknown", [](auto &m) { entry(m, 0).kind = fbs::EntryKind(4); }},
    {"0 rows do not fit its kind", [](auto &m) { entry(m, 1).rows = 0; }},
    {"2 rows do not fit its kind", [](auto &m) { entry(m, 0).rows = 2; }},
    {"2147483648 rows do not fit", [](auto &m) { entry(m, 1).rows = 1u << 31; }},
    {"entry 3 'mtp_decode': the model has no MTP block",
     [](auto &m) {
       m.model->mtp = false;
       for (int i = 0; i != 3; ++i)
         entry(m, i).outputs.pop_back(), entry(m, i).launches.erase(entry(m, i).launches.begin() + 2),
             entry(m, i).taps.clear();
     }},
    {"an earlier entry has the same kind and rows",
     [](auto &m) {
       m.targets[0]->entries.push_back(std::make_unique<fbs::EntryT>(entry(m, 1)));
       entry(m, 6).name = "again";
     }},
    {"an arena of 281474976710657 bytes", [](auto &m) { entry(m, 0).arena_bytes = (uint64_t(1) << 48) + 1; }},
    {"entry 'prefill_8' has no MTP entry of the same rows", [](auto &m) { m.targets[0]->entries.pop_back(); }},
    {"input 0: it has no name", [](auto &m) { entry(m, 0).inputs[0]->name.clear(); }},
    {"input 1 'tokens': its name is taken", [](auto &m) { entry(m, 0).inputs[1]->name = "tokens"; }},
    {"input 0 'tokens': element type 200 is unknown", [](auto &m) { entry(m, 0).inputs[0]->dtype = DType(200); }},
    {"this kind of entry has no such input", [](auto &m) { entry(m, 0).inputs[0]->name = "hidden"; }},
    {"expected I32 with 1 extents for 1 rows, found I64 [1]",
     [](auto &m) { entry(m, 0).inputs[0]->dtype = DType::I64; }},
    {"expected F32 with 2 extents for 1 rows, found F32 [2, 32]",
     [](auto &m) { entry(m, 0).outputs[0]->shape = {2, 32}; }},
    {"it lacks the input 'span'", [](auto &m) { entry(m, 0).inputs.pop_back(); }},
    {"it lacks the output 'hidden'", [](auto &m) { entry(m, 0).outputs.pop_back(); }},
    {"it lacks the input 'hidden'", [](auto &m) { entry(m, 3).inputs.pop_back(); }},

    {"it launches nothing", [](auto &m) { entry(m, 0).launches.clear(); }},
    {"launch 0: it has no name", [](auto &m) { entry(m, 0).launches[0]->name.clear(); }},
    {"kernel 99 does not exist; there are", [](auto &m) { mix(m).kernel = 99; }},
    {"its kernel takes 15 bindings, it gives 14", [](auto &m) { mix(m).bindings.pop_back(); }},
    {"binding 0: binding kind 6 is unknown", [](auto &m) { mix(m).bindings[0] = {0, 8, 2, BindingKind(6)}; }},
    {"arena 1 does not exist; there are 1", [](auto &m) { mix(m).bindings[1] = {0, 4, 1, BindingKind::Arena}; }},
    {"bytes 96 + 64 reach beyond the 128 of its arena",
     [](auto &m) { mix(m).bindings[1] = {96, 64, 0, BindingKind::Arena}; }},
    {"reach beyond the 128 of its arena",
     [](auto &m) { mix(m).bindings[1] = {UINT64_MAX, 64, 0, BindingKind::Arena}; }},
    {"parameter 5 does not exist; there are 5",
     [](auto &m) { mix(m).bindings[13] = {0, 16, 5, BindingKind::Parameter}; }},
    {"bytes 0 + 17 reach beyond the 16 of its parameter",
     [](auto &m) { mix(m).bindings[13] = {0, 17, 3, BindingKind::Parameter}; }},
    {"parameter 5 does not exist", [](auto &m) { mix(m).bindings[10] = {0, 32, 5, BindingKind::TableOffsets}; }},
    {"parameter 0 is not a table and has no row offsets",
     [](auto &m) { mix(m).bindings[10] = {0, 32, 0, BindingKind::TableOffsets}; }},
    {"bytes 8 + 32 reach beyond the 32", [](auto &m) { mix(m).bindings[10] = {8, 32, 1, BindingKind::TableOffsets}; }},
    {"state 8 does not exist; there are 8", [](auto &m) { mix(m).bindings[2] = {0, 8, 8, BindingKind::State}; }},
    {"reach beyond the 128 of its state", [](auto &m) { mix(m).bindings[2] = {4, 128, 0, BindingKind::State}; }},
    {"input 3 does not exist; there are 3", [](auto &m) { mix(m).bindings[0] = {0, 8, 3, BindingKind::Input}; }},
    {"reach beyond the 8 of its input", [](auto &m) { mix(m).bindings[0] = {4, 8, 2, BindingKind::Input}; }},
    {"output 2 does not exist; there are 2", [](auto &m) { mix(m).bindings[14] = {0, 8, 2, BindingKind::Output}; }},
    {"reach beyond the 128 of its output", [](auto &m) { mix(m).bindings[14] = {128, 1, 0, BindingKind::Output}; }},
    {"counter 0: only the arena can be cleared",
     [](auto &m) { entry(m, 0).launches[3]->zero[0] = {0, 8, 0, BindingKind::State}; }},
    {"counter 0: bytes 128 + 4 reach beyond",
     [](auto &m) { entry(m, 0).launches[3]->zero[0] = {128, 4, 0, BindingKind::Arena}; }},
    {"tensor maps have no meaning on a CPU", [](auto &m) { mix(m).tensor_maps.push_back(0); }},
    {"tensor map of binding 15, which does not exist",
     [](auto &m) { m.targets[0]->name = "gpu", mix(m).tensor_maps.push_back(15); }},

    {"tap 0: it has no name", [](auto &m) { entry(m, 0).taps[0]->name.clear(); }},
    {"tap 1 'embed': its name is taken", [](auto &m) { entry(m, 0).taps[1]->name = "embed"; }},
    {"tap 0 'embed': it has no shape", [](auto &m) { entry(m, 0).taps[0]->shape.clear(); }},
    {"values of type I64 cannot be reported", [](auto &m) { entry(m, 0).taps[0]->dtype = DType::I64; }},
    {"shape [32] does not begin with the 4 rows", [](auto &m) { entry(m, 1).taps[0]->shape = {32}; }},
    {"launch 5 does not exist; there are 5", [](auto &m) { entry(m, 0).taps[0]->launch = 5; }},
    {"it names no buffer", [](auto &m) { entry(m, 0).taps[0]->buffer.reset(); }},
    {"tap 0 'embed': bytes 100 + 32 reach beyond",
     [](auto &m) { *entry(m, 0).taps[0]->buffer = {100, 32, 0, BindingKind::Arena}; }},
    {"a parameter is not a value of the run",
     [](auto &m) { *entry(m, 0).taps[0]->buffer = {0, 32, 0, BindingKind::Parameter}; }},
    {"its buffer has 28 bytes, shape [1, 8] needs 32",
     [](auto &m) { *entry(m, 0).taps[0]->buffer = {64, 28, 0, BindingKind::Arena}; }},
};

TEST(ModuleVerify, EveryDefectIsNamedWithARemedy) {
  for (const Defect &defect : defects) {
    auto module = toyModule();
    defect.edit(*module);
    Status status = verify(moduleBytes(*module));
    EXPECT_EQ(status.code(), V4_INVALID) << defect.text;
    EXPECT_NE(status.message().find(defect.text), std::string_view::npos)
        << "wanted: " << defect.text << "\ngot:    " << status.message();
    EXPECT_NE(status.message().find("; build the module again with v4c"), std::string_view::npos) << status.message();
  }
}

TEST(ModuleVerify, Slots) {
  for (bool mtp : {true, false})
    EXPECT_TRUE(verify(moduleBytes(*toyModule({.logitsAll = false, .mtp = mtp, .slots = 3}))).ok());
  auto expect = [](const char *text, auto edit) {
    auto module = toyModule({.slots = 3});
    edit(*module);
    Status status = verify(moduleBytes(*module));
    EXPECT_EQ(status.code(), V4_INVALID) << text;
    EXPECT_NE(status.message().find(text), std::string_view::npos) << status.message();
  };
  // Decode reaches all three slots of a state of 128 bytes, prefill one.
  expect("bytes 256 + 129 reach beyond the 384 of its state", [](auto &m) {
    mix(m).bindings[2] = {256, 129, 0, BindingKind::State};
  });
  expect("bytes 128 + 128 reach beyond the 128 of its state", [](auto &m) {
    entry(m, 1).launches[1]->bindings[2] = {128, 128, 0, BindingKind::State};
  });
  expect("expected I32 with 2 extents for 3 rows, found I32 [2]", [](auto &m) { entry(m, 0).inputs[2]->shape = {2}; });
  expect("expected I32 with 1 extents for 4 rows, found I32 [3, 2]", [](auto &m) {
    entry(m, 1).inputs[2]->shape = {3, 2};
  });
  expect("the states together have more bytes than can be addressed", [](auto &m) {
    m.states[0]->shape[0] = (uint64_t(1) << 48) / 64; // of one slot it would be half of the limit
  });
}

TEST(ModuleVerify, MisalignedVectorsAreRefused) {
  // FlatBuffers accepts a vector whose length is aligned and whose 8-byte elements are not; reading those is undefined.
  // Each case points one vector at a new one behind everything else, whose length is at a multiple of 8.
  auto moved = [](auto choose) {
    std::string module = moduleBytes(*toyModule());
    auto file = ModuleFile::copy(bytesOf(module));
    EXPECT_TRUE(file);
    const std::byte *base = file->bytes().data();
    auto [table, field] = choose(file->root());
    size_t at = static_cast<size_t>(reinterpret_cast<const std::byte *>(table->GetAddressOf(field)) - base);
    module.resize((module.size() + 7) / 8 * 8);
    store(module, at, static_cast<uint32_t>(module.size() - at));
    module += std::string("\1\0\0\0", 4) + std::string(60, '\0');
    return withHeader(payloadOf(module));
  };
  auto expect = [](const std::string &module, const char *text) {
    Status status = verify(module);
    EXPECT_NE(status.message().find(text), std::string_view::npos) << status.message();
  };
  using Place = std::pair<const flatbuffers::Table *, flatbuffers::voffset_t>;
  auto asTable = [](const auto *object) { return reinterpret_cast<const flatbuffers::Table *>(object); };
  expect(moved([&](const fbs::Module &m) { return Place(asTable(m.parameters()->Get(0)), fbs::Parameter::VT_SHAPE); }),
         "its shape is not aligned in the file");
  expect(moved([&](const fbs::Module &m) {
           return Place(asTable(m.targets()->Get(0)->entries()->Get(0)->launches()->Get(0)), fbs::Launch::VT_BINDINGS);
         }),
         "its bindings are not aligned in the file");
}

TEST(ModuleLoad, SaysWhatTheMachineLacks) {
  auto refused = [](v4_code code, const char *text, const std::function<void(fbs::ModuleT &)> &edit) {
    auto tree = toyModule();
    edit(*tree);
    auto file = ModuleFile::copy(bytesOf(moduleBytes(*tree)));
    ASSERT_TRUE(file) << file.takeStatus().message();
    auto module = Module::load(std::move(*file), "cpu");
    ASSERT_FALSE(module) << text;
    Status status = module.takeStatus();
    EXPECT_EQ(status.code(), code);
    EXPECT_NE(status.message().find(text), std::string_view::npos) << status.message();
  };
  refused(V4_INVALID, "no code for device 'cpu' (it has: nvptx); compile it with --target=cpu",
          [](auto &m) { m.targets[0]->name = "nvptx"; });
  refused(V4_ENVIRONMENT, "needs the instruction set 'no-such'", [](auto &m) {
    m.targets[0]->features = {"sse2", "no-such"};
  });
  refused(V4_INVALID, "has no x86-64 image", [](auto &m) { m.targets[0]->images[0]->arch = "aarch64"; });
  refused(V4_INVALID, "has no x86-64 image", [](auto &m) {
    m.targets[0]->images[0]->kind = fbs::ImageKind::Ptx, m.targets[0]->images[0]->arch = "sm_80";
  });
  refused(V4_INVALID, "the module's image cannot be loaded: it is not an ELF file",
          [](auto &m) { m.targets[0]->images[0]->data[0] = 0; });
  refused(V4_INVALID, "does not define 'nothing', which kernel 'toy_embed_1' needs",
          [](auto &m) { m.targets[0]->kernels[0]->phases[0]->symbol = "nothing"; });
}

} // namespace
