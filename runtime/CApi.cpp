// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The C interface (v4.h): argument checks, handles, and options structs of any age.
#include "runtime/Sampler.h"
#include "runtime/Session.h"

#include <cstring>

struct v4_module {
  std::shared_ptr<const v4::Module> impl;
};
struct v4_weights {
  std::shared_ptr<const v4::Weights> impl;
};
struct v4_session {
  std::unique_ptr<v4::Session> impl;
};
struct v4_sampler {
  v4::Sampler impl;
};

namespace {

using namespace v4;

v4_status *missing(std::string_view call, std::string_view what) {
  return misuse(call, ": ", what, " is NULL").release();
}

/// Reads an options struct of the caller's size; what the caller does not know is zero.
template <typename T> Status readOptions(std::string_view call, const T *given, T &out) {
  out = T{};
  if (!given)
    return {};
  if (given->struct_size < sizeof(size_t))
    return misuse(call, ": struct_size is not set");
  std::memcpy(static_cast<void *>(&out), given, std::min(given->struct_size, sizeof(T)));
  out.struct_size = sizeof(T);
  return {};
}

v4_status *loadModule(Expected<ModuleFile> file, const v4_module_options *options, std::string_view where,
                      v4_module **out) {
  if (!file)
    return file.takeStatus().release();
  v4_module_options read;
  if (Status status = readOptions("v4_module_load", options, read); !status.ok())
    return std::move(status).release();
  auto module = Module::load(std::move(*file), read.device ? read.device : "cpu");
  if (!module)
    return (where.empty() ? module.takeStatus() : module.takeStatus().in(where)).release();
  *out = new v4_module{std::move(*module)};
  return nullptr;
}

bool hasSlot(const v4_session *session, uint32_t slot) {
  return session && slot < session->impl->slotCount();
}

/// Null, or what is wrong with the session and slot of a call.
v4_status *checkSlot(std::string_view call, const v4_session *session, uint32_t slot) {
  if (!session)
    return missing(call, "session");
  if (hasSlot(session, slot))
    return nullptr;
  return misuse(call, ": there is no slot ", slot, "; the module has ", session->impl->slotCount(),
                ", compile it with a larger --slots")
      .release();
}

} // namespace

extern "C" {

v4_code v4_status_code(const v4_status *status) {
  return status ? status->code : V4_OK;
}
const char *v4_status_message(const v4_status *status) {
  return status ? status->message.c_str() : "";
}
void v4_status_free(v4_status *status) {
  delete status;
}

const char *v4_version(void) {
  return V4_VERSION_STRING;
}

v4_status *v4_module_load(const char *path, const v4_module_options *options, v4_module **out) {
  if (!path || !out)
    return missing("v4_module_load", path ? "out" : "path");
  return loadModule(ModuleFile::read(path), options, path, out);
}

v4_status *v4_module_load_memory(const void *data, size_t size, const v4_module_options *options, v4_module **out) {
  if ((!data && size) || !out)
    return missing("v4_module_load_memory", out ? "data" : "out");
  return loadModule(ModuleFile::copy({static_cast<const std::byte *>(data), size}), options, {}, out);
}

void v4_module_free(v4_module *module) {
  delete module;
}

v4_status *v4_module_get_info(const v4_module *module, v4_module_info *info) {
  if (!module || !info)
    return missing("v4_module_get_info", module ? "info" : "module");
  if (info->struct_size < sizeof(size_t))
    return misuse("v4_module_get_info: struct_size is not set").release();
  const v4::Module &impl = *module->impl;
  const fbs::Provenance &provenance = *impl.root().provenance();
  v4_module_info full{};
  full.struct_size = std::min(info->struct_size, sizeof full);
  full.model_type = impl.model().model_type()->c_str();
  full.numerics = provenance.numerics()->c_str();
  full.kv = provenance.kv()->c_str();
  full.plan = provenance.plan() ? provenance.plan()->c_str() : "";
  full.vocab_size = impl.model().vocab_size();
  full.hidden_size = impl.model().hidden_size();
  full.streams = impl.model().streams();
  full.layers = impl.model().layers();
  full.max_context = impl.model().max_context();
  full.eos_token = impl.model().eos_token();
  full.logits_all = impl.model().logits_all();
  full.mtp = impl.model().mtp();
  full.max_rows = impl.maxRows();
  full.arena_bytes = impl.arenaBytes();
  full.state_cache_bytes = impl.stateBytes(false);
  full.state_rows_bytes = impl.stateBytes(true);
  full.io_bytes = impl.ioBytes();
  full.slots = impl.slots();
  full.device = impl.device().description().c_str();
  full.target = impl.target().name()->c_str();
  std::memcpy(info, &full, full.struct_size);
  return nullptr;
}

v4_status *v4_weights_load(const v4_module *module, const char *path, const v4_weights_options *options,
                           v4_weights **out) {
  if (!module || !path || !out)
    return missing("v4_weights_load", !module ? "module" : !path ? "path" : "out");
  v4_weights_options read;
  if (Status status = readOptions("v4_weights_load", options, read); !status.ok())
    return std::move(status).release();
  if (read.threads > 1024)
    return misuse("v4_weights_load: ", read.threads, " threads are more than 1024").release();
  Weights::Options loadOptions;
  loadOptions.threads = read.threads;
  if (read.progress)
    loadOptions.progress = [&](uint64_t done, uint64_t total) { return read.progress(read.user, done, total) == 0; };
  auto weights = Weights::load(module->impl, path, loadOptions);
  if (!weights)
    return weights.takeStatus().release();
  *out = new v4_weights{std::move(*weights)};
  return nullptr;
}

v4_status *v4_weights_random(const v4_module *module, uint64_t seed, v4_weights **out) {
  if (!module || !out)
    return missing("v4_weights_random", module ? "out" : "module");
  auto weights = Weights::random(module->impl, seed);
  if (!weights)
    return weights.takeStatus().release();
  *out = new v4_weights{std::move(*weights)};
  return nullptr;
}

void v4_weights_free(v4_weights *weights) {
  delete weights;
}

v4_status *v4_session_create(const v4_module *module, const v4_weights *weights, const v4_session_options *options,
                             v4_session **out) {
  if (!module || !weights || !out)
    return missing("v4_session_create", !module ? "module" : !weights ? "weights" : "out");
  v4_session_options read;
  if (Status status = readOptions("v4_session_create", options, read); !status.ok())
    return std::move(status).release();
  Session::Options sessionOptions;
  sessionOptions.threads = read.threads;
  sessionOptions.chunk = read.chunk;
  if (read.flags & ~uint32_t(V4_SESSION_POISON))
    return misuse("v4_session_create: unknown flags ", read.flags).release();
  sessionOptions.poison = read.flags & V4_SESSION_POISON;
  sessionOptions.emuOrder = read.emu_order;
  sessionOptions.emuRaces = read.emu_unchecked == 0;
  if (read.threads > 1024)
    return misuse("v4_session_create: ", read.threads, " threads are more than 1024").release();
  for (size_t i = 0; i != read.num_taps; ++i) {
    if (!read.taps || !read.taps[i])
      return missing("v4_session_create", "a tap");
    sessionOptions.taps.emplace_back(read.taps[i]);
  }
  if (Status status = readOptions("v4_session_create", read.observer, sessionOptions.observer); !status.ok())
    return std::move(status).release();
  auto session = Session::create(module->impl, weights->impl, std::move(sessionOptions));
  if (!session)
    return session.takeStatus().release();
  *out = new v4_session{std::move(*session)};
  return nullptr;
}

void v4_session_free(v4_session *session) {
  delete session;
}

v4_status *v4_session_reset(v4_session *session, uint32_t slot) {
  if (v4_status *wrong = checkSlot("v4_session_reset", session, slot))
    return wrong;
  return session->impl->reset(slot).release();
}

uint64_t v4_session_position(const v4_session *session, uint32_t slot) {
  return hasSlot(session, slot) ? session->impl->position(slot) : 0;
}

v4_status *v4_session_append(v4_session *session, uint32_t slot, const int32_t *tokens, size_t count) {
  if (v4_status *wrong = checkSlot("v4_session_append", session, slot))
    return wrong;
  if (!tokens && count)
    return missing("v4_session_append", "tokens");
  return session->impl->append(slot, {tokens, count}).release();
}

v4_status *v4_session_step(v4_session *session, const int32_t *tokens, size_t count) {
  if (!session || !tokens)
    return missing("v4_session_step", session ? "tokens" : "session");
  if (count != session->impl->slotCount())
    return misuse("v4_session_step: ", count, " tokens for ", session->impl->slotCount(), " slots").release();
  return session->impl->step({tokens, count}).release();
}

const float *v4_session_logits(const v4_session *session, uint32_t slot) {
  return hasSlot(session, slot) ? session->impl->logits(slot) : nullptr;
}

int v4_session_mtp_active(const v4_session *session, uint32_t slot) {
  return hasSlot(session, slot) && session->impl->mtpActive(slot);
}

v4_status *v4_session_save(const v4_session *session, uint32_t slot, const char *path) {
  if (v4_status *wrong = checkSlot("v4_session_save", session, slot))
    return wrong;
  if (!path)
    return missing("v4_session_save", "path");
  return session->impl->save(slot, path).release();
}

v4_status *v4_session_load(v4_session *session, uint32_t slot, const char *path) {
  if (v4_status *wrong = checkSlot("v4_session_load", session, slot))
    return wrong;
  if (!path)
    return missing("v4_session_load", "path");
  return session->impl->load(slot, path).release();
}

v4_status *v4_session_fill(v4_session *session, uint32_t slot, uint64_t position, v4_state_source source, void *user) {
  if (v4_status *wrong = checkSlot("v4_session_fill", session, slot))
    return wrong;
  if (!source)
    return missing("v4_session_fill", "source");
  return session->impl
      ->fill(slot, position,
             [&](const std::string &name, uint64_t first, size_t count, float *out) {
               source(user, name.c_str(), first, count, out);
             })
      .release();
}

const char *v4_current_launch(void) {
  return currentLaunch();
}

v4_status *v4_sampler_create(const v4_sampler_options *options, v4_sampler **out) {
  if (!out)
    return missing("v4_sampler_create", "out");
  v4_sampler_options read;
  if (Status status = readOptions("v4_sampler_create", options, read); !status.ok())
    return std::move(status).release();
  auto sampler = Sampler::create(read.temperature, read.top_p, read.seed);
  if (!sampler)
    return sampler.takeStatus().release();
  *out = new v4_sampler{std::move(*sampler)};
  return nullptr;
}

void v4_sampler_free(v4_sampler *sampler) {
  delete sampler;
}

v4_status *v4_sampler_pick(v4_sampler *sampler, const float *logits, size_t vocab, int32_t *token) {
  if (!sampler || !logits || !token)
    return missing("v4_sampler_pick", !sampler ? "sampler" : !logits ? "logits" : "token");
  auto picked = sampler->impl.pick({logits, vocab});
  if (!picked)
    return picked.takeStatus().release();
  *token = *picked;
  return nullptr;
}

} // extern "C"
