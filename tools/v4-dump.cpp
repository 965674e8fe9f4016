// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Prints what a module holds, as text or JSON. Needs no device and runs nothing.
#include "runtime/Json.h"
#include "runtime/Module.h"
#include "tools/JsonWriter.h"
#include "tools/Options.h"

#include <cstdio>

using namespace v4;

namespace {

ToolSpec toolSpec() {
  ToolSpec tool;
  tool.name = "v4-dump";
  tool.summary = "prints what a compiled module holds: provenance, parameters, state, launches, executables";
  tool.usage = "M.v4m|- [--json]";
  tool.version = concat("v4-dump ", V4_VERSION_STRING, " (module format ", moduleMajor, ".", moduleMinor, ")");
  tool.minPositionals = tool.maxPositionals = 1;
  tool.positionalName = "M.v4m";
  tool.examples = {{"v4-dump m.v4m", "everything, as text"},
                   {"v4c ckpt --numerics=f32 -o - | v4-dump -", "without a file"},
                   {"v4-dump m.v4m --json | jq '.targets[0].entries[0].launches[].name'", "the launch list of decode"}};
  tool.options = {{"json", "", "output", "JSON (schema \"v4-dump\", version 1) instead of text"}};
  return tool;
}

std::string_view text(const flatbuffers::String *string) {
  return string ? string->string_view() : std::string_view();
}

std::string dim(const fbs::Dim3 *value) {
  return value ? concat(value->x(), "x", value->y(), "x", value->z()) : std::string("1x1x1");
}

/// "arena[64+256]", or for a named object "layers.0.attn.wq_a", with its range when it is not the whole.
std::string bindingText(const fbs::Module &module, const fbs::Entry &entry, const fbs::Binding &binding) {
  std::string_view name;
  uint32_t index = binding.index();
  switch (binding.kind()) {
  case fbs::BindingKind::Arena:
    name = "arena";
    break;
  case fbs::BindingKind::Parameter:
  case fbs::BindingKind::TableOffsets:
    name = text(module.parameters()->Get(index)->name());
    break;
  case fbs::BindingKind::State:
    name = text(module.states()->Get(index)->name());
    break;
  case fbs::BindingKind::Input:
    name = text(entry.inputs()->Get(index)->name());
    break;
  case fbs::BindingKind::Output:
    name = text(entry.outputs()->Get(index)->name());
    break;
  }
  return concat(fbs::EnumNameBindingKind(binding.kind()), " ", name, "[", binding.offset(), "+", binding.bytes(), "]");
}

// ---- Text
// ------------------------------------------------------------------------------------------------------------

void print(const std::string &line) {
  std::fputs(line.c_str(), stdout);
}

void printText(const fbs::Module &module) {
  const fbs::Provenance &provenance = *module.provenance();
  print(concat("provenance\n  producer   ", text(provenance.producer()), "\n  graph hash ",
               text(provenance.graph_hash()), "\n  plan       ", text(provenance.plan()), "\n  numerics   ",
               text(provenance.numerics()), "\n  kv         ", text(provenance.kv()), "\n"));
  for (unsigned i = 0; provenance.options() && i != provenance.options()->size(); ++i)
    print(concat("  option     ", text(provenance.options()->Get(i)), "\n"));
  for (unsigned i = 0; provenance.ignored() && i != provenance.ignored()->size(); ++i)
    print(concat("  left out   ", text(provenance.ignored()->Get(i)), "\n"));

  const fbs::Model &model = *module.model();
  print(concat("model ", text(model.model_type()), "\n  vocabulary ", model.vocab_size(), ", hidden ",
               model.hidden_size(), ", streams ", model.streams(), ", layers ", model.layers(), ", max context ",
               model.max_context(), ", slots ", model.slots(), ", end token ", model.eos_token(), ", logits ",
               model.logits_all() ? "all" : "last",
               ", MTP ", model.mtp() ? "yes" : "no",
               model.experts_per_token() ? concat(", experts per token ", model.experts_per_token()) : std::string(),
               "\n"));

  unsigned parameters = module.parameters() ? module.parameters()->size() : 0;
  uint64_t total = 0;
  for (unsigned i = 0; i != parameters; ++i)
    total += arrayBytes(module.parameters()->Get(i)->dtype(), *module.parameters()->Get(i)->shape());
  print(concat("parameters ", parameters, ", ", total, " bytes\n"));
  for (unsigned i = 0; i != parameters; ++i) {
    const fbs::Parameter &parameter = *module.parameters()->Get(i);
    print(concat("  ", text(parameter.name()), " ", dtypeName(parameter.dtype()), " ", shapeText(*parameter.shape()),
                 parameter.rows() ? " table" : "", " ", text(parameter.layout()), " <- ",
                 text(parameter.source()->tensor()), " ", dtypeName(parameter.source()->dtype()), " ",
                 shapeText(*parameter.source()->shape()), " + ", parameter.source()->offset(), "\n"));
  }

  unsigned states = module.states() ? module.states()->size() : 0;
  total = 0;
  for (unsigned i = 0; i != states; ++i)
    total += arrayBytes(module.states()->Get(i)->dtype(), *module.states()->Get(i)->shape());
  print(concat("state ", states, ", ", total, " bytes",
               model.slots() > 1 ? concat(" per slot, ", total * model.slots(), " bytes in all") : std::string(),
               "\n"));
  for (unsigned i = 0; i != states; ++i) {
    const fbs::State &state = *module.states()->Get(i);
    print(concat("  ", text(state.name()), " ", fbs::EnumNameStateKind(state.kind()), " ", dtypeName(state.dtype()),
                 " ", shapeText(*state.shape()), state.ratio() ? concat(" ratio ", state.ratio()) : std::string(),
                 state.overlap() ? " overlapping" : "", "\n"));
  }

  for (const fbs::Target *target : *module.targets()) {
    print(concat("target ", text(target->name()), "\n  needs     "));
    for (unsigned i = 0; target->features() && i != target->features()->size(); ++i)
      print(concat(" ", text(target->features()->Get(i))));
    print("\n");
    for (const fbs::Image *image : *target->images())
      print(concat("  image      ", fbs::EnumNameImageKind(image->kind()), " ", text(image->arch()), " ",
                   image->data()->size(), " bytes\n"));
    for (const fbs::Entry *entry : *target->entries()) {
      print(concat("  entry ", text(entry->name()), " (", fbs::EnumNameEntryKind(entry->kind()), ", ", entry->rows(),
                   " rows): ", entry->launches()->size(), " launches, arena ", entry->arena_bytes(), " bytes\n"));
      for (const fbs::Launch *launch : *entry->launches()) {
        const fbs::Kernel &kernel = *target->kernels()->Get(launch->kernel());
        print(concat("    ", text(launch->name()), " = ", text(kernel.name()), kernel.hash() ? " hash " : "",
                     kernel.hash() ? text(kernel.hash()) : "", "\n"));
        for (const fbs::Phase *phase : *kernel.phases())
          print(concat("      phase ", text(phase->symbol()), " grid ", dim(phase->grid()), "\n"));
        for (unsigned i = 0; launch->bindings() && i != launch->bindings()->size(); ++i)
          print(concat("      ", i, ": ", bindingText(module, *entry, *launch->bindings()->Get(i)), "\n"));
      }
      for (unsigned i = 0; entry->taps() && i != entry->taps()->size(); ++i) {
        const fbs::Tap &tap = *entry->taps()->Get(i);
        print(concat("    tap ", text(tap.name()), " ", dtypeName(tap.dtype()), " ", shapeText(*tap.shape()),
                     " after launch ", tap.launch(), "\n"));
      }
    }
  }
}

// ---- JSON
// ------------------------------------------------------------------------------------------------------------

class DumpWriter : public JsonWriter {
public:
  DumpWriter &key(std::string_view name) {
    JsonWriter::key(name);
    return *this;
  }
  void shape(const flatbuffers::Vector<uint64_t> &extents) {
    open('[');
    for (uint64_t extent : extents)
      number(extent);
    close(']');
  }
  void strings(const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>> *list) {
    open('[');
    for (unsigned i = 0; list && i != list->size(); ++i)
      value(text(list->Get(i)));
    close(']');
  }
};

void dimJson(DumpWriter &w, std::string_view name, const fbs::Dim3 *value) {
  w.key(name).open('[');
  for (uint32_t extent : {value ? value->x() : 1, value ? value->y() : 1, value ? value->z() : 1})
    w.number(extent);
  w.close(']');
}

void bindingJson(DumpWriter &w, const fbs::Binding &binding) {
  w.open('{');
  w.key("kind").value(fbs::EnumNameBindingKind(binding.kind()));
  w.key("index").number(binding.index());
  w.key("offset").number(binding.offset());
  w.key("bytes").number(binding.bytes());
  w.close('}');
}

void valuesJson(DumpWriter &w, std::string_view name,
                const flatbuffers::Vector<flatbuffers::Offset<fbs::Value>> *values) {
  w.key(name).open('[');
  for (unsigned i = 0; values && i != values->size(); ++i) {
    w.open('{');
    w.key("name").value(text(values->Get(i)->name()));
    w.key("dtype").value(dtypeName(values->Get(i)->dtype()));
    w.key("shape").shape(*values->Get(i)->shape());
    w.close('}');
  }
  w.close(']');
}

void entryJson(DumpWriter &w, const fbs::Target &target, const fbs::Entry &entry) {
  w.open('{');
  w.key("name").value(text(entry.name()));
  w.key("kind").value(fbs::EnumNameEntryKind(entry.kind()));
  w.key("rows").number(entry.rows());
  w.key("arena_bytes").number(entry.arena_bytes());
  valuesJson(w, "inputs", entry.inputs());
  valuesJson(w, "outputs", entry.outputs());
  w.key("launches").open('[');
  for (const fbs::Launch *launch : *entry.launches()) {
    w.open('{');
    w.key("name").value(text(launch->name()));
    w.key("kernel").value(text(target.kernels()->Get(launch->kernel())->name()));
    w.key("bindings").open('[');
    for (unsigned i = 0; launch->bindings() && i != launch->bindings()->size(); ++i)
      bindingJson(w, *launch->bindings()->Get(i));
    w.close(']');
    w.key("zero").open('[');
    for (unsigned i = 0; launch->zero() && i != launch->zero()->size(); ++i)
      bindingJson(w, *launch->zero()->Get(i));
    w.close(']');
    w.close('}');
  }
  w.close(']');
  w.key("taps").open('[');
  for (unsigned i = 0; entry.taps() && i != entry.taps()->size(); ++i) {
    const fbs::Tap &tap = *entry.taps()->Get(i);
    w.open('{');
    w.key("name").value(text(tap.name()));
    w.key("launch").number(tap.launch());
    w.key("dtype").value(dtypeName(tap.dtype()));
    w.key("shape").shape(*tap.shape());
    w.key("buffer");
    bindingJson(w, *tap.buffer());
    w.close('}');
  }
  w.close(']');
  w.close('}');
}

void targetJson(DumpWriter &w, const fbs::Target &target) {
  w.open('{');
  w.key("name").value(text(target.name()));
  w.key("features").strings(target.features());
  w.key("images").open('[');
  for (const fbs::Image *image : *target.images()) {
    w.open('{');
    w.key("kind").value(fbs::EnumNameImageKind(image->kind()));
    w.key("arch").value(text(image->arch()));
    w.key("bytes").number(image->data()->size());
    w.close('}');
  }
  w.close(']');
  w.key("kernels").open('[');
  for (unsigned i = 0; target.kernels() && i != target.kernels()->size(); ++i) {
    const fbs::Kernel &kernel = *target.kernels()->Get(i);
    w.open('{');
    w.key("name").value(text(kernel.name()));
    w.key("bindings").number(kernel.bindings());
    if (kernel.hash())
      w.key("hash").value(text(kernel.hash()));
    w.key("phases").open('[');
    for (const fbs::Phase *phase : *kernel.phases()) {
      w.open('{');
      w.key("symbol").value(text(phase->symbol()));
      dimJson(w, "grid", phase->grid());
      dimJson(w, "block", phase->block());
      dimJson(w, "cluster", phase->cluster());
      w.key("shared_bytes").number(phase->shared_bytes());
      w.key("cooperative").boolean(phase->cooperative());
      w.key("programmatic").boolean(phase->programmatic());
      w.close('}');
    }
    w.close(']');
    w.close('}');
  }
  w.close(']');
  w.key("entries").open('[');
  for (const fbs::Entry *entry : *target.entries())
    entryJson(w, target, *entry);
  w.close(']');
  w.close('}');
}

void printJson(const fbs::Module &module) {
  DumpWriter w;
  w.open('{');
  w.key("schema").value("v4-dump");
  w.key("schema_version").number(1);
  const fbs::Provenance &provenance = *module.provenance();
  w.key("provenance").open('{');
  w.key("producer").value(text(provenance.producer()));
  w.key("graph_hash").value(text(provenance.graph_hash()));
  w.key("options").strings(provenance.options());
  w.key("plan").value(text(provenance.plan()));
  w.key("numerics").value(text(provenance.numerics()));
  w.key("kv").value(text(provenance.kv()));
  w.key("ignored").strings(provenance.ignored());
  w.close('}');
  const fbs::Model &model = *module.model();
  w.key("model").open('{');
  w.key("model_type").value(text(model.model_type()));
  w.key("vocab_size").number(model.vocab_size());
  w.key("hidden_size").number(model.hidden_size());
  w.key("streams").number(model.streams());
  w.key("layers").number(model.layers());
  w.key("max_context").number(model.max_context());
  w.key("slots").number(model.slots());
  w.key("eos_token").number(model.eos_token());
  w.key("logits_all").boolean(model.logits_all());
  w.key("mtp").boolean(model.mtp());
  w.key("experts_per_token").number(model.experts_per_token());
  w.close('}');
  w.key("parameters").open('[');
  for (unsigned i = 0; module.parameters() && i != module.parameters()->size(); ++i) {
    const fbs::Parameter &parameter = *module.parameters()->Get(i);
    w.open('{');
    w.key("name").value(text(parameter.name()));
    w.key("dtype").value(dtypeName(parameter.dtype()));
    w.key("shape").shape(*parameter.shape());
    w.key("rows").number(parameter.rows());
    w.key("layout").value(text(parameter.layout()));
    w.key("source").open('{');
    w.key("tensor").value(text(parameter.source()->tensor()));
    w.key("dtype").value(dtypeName(parameter.source()->dtype()));
    w.key("shape").shape(*parameter.source()->shape());
    w.key("offset").number(parameter.source()->offset());
    w.key("stride").number(parameter.source()->stride());
    w.close('}');
    w.close('}');
  }
  w.close(']');
  w.key("states").open('[');
  for (unsigned i = 0; module.states() && i != module.states()->size(); ++i) {
    const fbs::State &state = *module.states()->Get(i);
    w.open('{');
    w.key("name").value(text(state.name()));
    w.key("kind").value(fbs::EnumNameStateKind(state.kind()));
    w.key("dtype").value(dtypeName(state.dtype()));
    w.key("shape").shape(*state.shape());
    w.key("ratio").number(state.ratio());
    w.key("overlap").boolean(state.overlap());
    w.close('}');
  }
  w.close(']');
  w.key("targets").open('[');
  for (const fbs::Target *target : *module.targets())
    targetJson(w, *target);
  w.close(']');
  w.close('}');
  w.out += '\n';
  print(w.out);
}

Expected<ModuleFile> readModule(const std::string &path) {
  if (path != "-")
    return ModuleFile::read(path);
  Expected<std::string> text = readStandardInput();
  V4_RETURN_IF_ERROR(text);
  return ModuleFile::copy({reinterpret_cast<const std::byte *>(text->data()), text->size()});
}

} // namespace

int main(int argc, char **argv) {
  ToolSpec tool = toolSpec();
  ParsedOptions options = parseOptions(tool, argc, argv);
  if (options.exit)
    return *options.exit;
  Expected<ModuleFile> file = readModule(options.positionals[0]);
  if (!file) {
    Status status = file.takeStatus();
    std::fprintf(stderr, "v4-dump: error: %s\n", std::string(status.message()).c_str());
    return status.code();
  }
  if (options.has("json"))
    printJson(file->root());
  else
    printText(file->root());
  if (std::fflush(stdout) != 0) {
    std::fprintf(stderr, "v4-dump: error: cannot write to standard output\n");
    return ExitEnvironment;
  }
  return ExitOk;
}
