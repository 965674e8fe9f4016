// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Parameter and state totals of an imported model.

#include "frontend/Report.h"
#include "dialects/V4.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace mlir::v4;

namespace {

int64_t product(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  for (int64_t dim : shape)
    count *= dim;
  return count;
}

/// The storage format of a parameter as people name it.
StringRef formatName(DType dtype) {
  switch (dtype) {
  case DType::F8E4M3:
    return "fp8";
  case DType::I8:
    return "fp4";
  case DType::BF16:
    return "bf16";
  case DType::I64:
    return "i64";
  default:
    return "f32";
  }
}

int64_t viewBytes(const SourceView &view) {
  return product(view.shape) * dtypeBits(view.dtype) / 8;
}

std::string kindName(const Config &config, int64_t layer) {
  return (layerKind(config.ratios[layer]) + (config.isHash(layer) ? "-hash" : "-scored")).str();
}

void addParameter(ReportRow &row, const Parameter &parameter, const Config &config) {
  const ParameterSpec &spec = parameter.spec;
  int64_t bytes = viewBytes(parameter.weight) + (parameter.scale ? viewBytes(*parameter.scale) : 0);
  row.weightBytes[formatName(parameter.weight.dtype)] += bytes;
  // A table of expert ids by token holds no trained values.
  if (spec.role == ParameterRole::TokenTable)
    return;
  bool expert = spec.role == ParameterRole::Expert;
  int64_t one = product(spec.shape);
  row.parameters += expert ? one * config.experts : one;
  if (spec.part != ParameterPart::Embedding)
    row.active += expert ? one * config.expertsPerToken : one;
}

/// Adds a state of one slot.
void addState(ReportRow &row, StateAttr state, RankedTensorType type, ArrayRef<int64_t> contexts) {
  ArrayRef<int64_t> shape = type.getShape().take_back(2);
  int64_t rows = shape.front();
  int64_t rowBytes = shape.back() * type.getElementTypeBitWidth() / 8;
  row.stateCapacity += rows * rowBytes;
  for (auto [context, bytes] : llvm::zip_equal(contexts, row.state)) {
    switch (state.getKind()) {
    case StateKind::window:
      bytes.cache += std::min(context, rows) * rowBytes;
      break;
    case StateKind::entries:
      bytes.cache += context / state.getRatio() * rowBytes;
      break;
    case StateKind::kv_rows:
    case StateKind::score_rows:
      bytes.compressorRows += rows * rowBytes;
      break;
    }
  }
}

void addRow(ReportRow &sum, const ReportRow &row) {
  sum.layers += row.layers;
  sum.parameters += row.parameters;
  sum.active += row.active;
  for (const auto &[format, bytes] : row.weightBytes)
    sum.weightBytes[format] += bytes;
  for (auto [to, from] : llvm::zip_equal(sum.state, row.state)) {
    to.cache += from.cache;
    to.compressorRows += from.compressorRows;
  }
  sum.stateCapacity += row.stateCapacity;
}

std::string grouped(int64_t value) {
  std::string text = std::to_string(value);
  for (int64_t i = static_cast<int64_t>(text.size()) - 3; i > 0; i -= 3)
    text.insert(i, ",");
  return text;
}

void printRow(const ReportRow &row, llvm::raw_ostream &os) {
  os << llvm::left_justify(row.name, 12) << llvm::right_justify(std::to_string(row.layers), 7)
     << llvm::right_justify(grouped(row.parameters), 22) << llvm::right_justify(grouped(row.active), 18) << "  ";
  bool first = true;
  for (const auto &[format, bytes] : row.weightBytes) {
    os << (first ? "" : ", ") << format << ' ' << grouped(bytes);
    first = false;
  }
  os << '\n';
}

} // namespace

FailureOr<Report> mlir::v4::makeReport(ModuleOp module, const Config &config, const Checkpoint *checkpoint,
                                       ArrayRef<int64_t> contexts) {
  Report report;
  report.contexts.assign(contexts.begin(), contexts.end());
  auto newRow = [&](StringRef name) {
    ReportRow row;
    row.name = name.str();
    row.state.resize(contexts.size());
    return row;
  };
  if (auto model = module->getAttrOfType<DictionaryAttr>("v4.model")) {
    if (auto length = model.getAs<IntegerAttr>("max_context"))
      report.maxContext = length.getInt();
    if (auto slots = model.getAs<IntegerAttr>("slots"))
      report.slots = slots.getInt();
  }

  // The configuration of some releases announces a block that the file does not hold.
  bool mtp = config.mtpBlocks > 0 && !config.drafter &&
             (!checkpoint || checkpoint->find("mtp.0.attn_norm.weight") != nullptr) &&
             (!checkpoint || checkpoint->find("mtp.0.main_proj.weight") == nullptr);
  FailureOr<ModelParameters> parameters = resolveParameters(module.getContext(), config, checkpoint, mtp);
  if (failed(parameters))
    return failure();

  // Rows of the report, found by name.
  std::vector<ReportRow> &parts = report.parts;
  auto part = [&](StringRef name) -> ReportRow & {
    return *llvm::find_if(parts, [&](const ReportRow &row) { return row.name == name; });
  };
  parts.push_back(newRow("embedding"));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    std::string name = kindName(config, layer);
    if (llvm::none_of(parts, [&](const ReportRow &row) { return row.name == name; }))
      parts.push_back(newRow(name));
    ++part(name).layers;
  }
  parts.push_back(newRow("head"));
  if (mtp) {
    report.mtp = newRow("mtp");
    report.mtp->layers = 1;
  }
  for (const Parameter &parameter : parameters->list) {
    switch (parameter.spec.part) {
    case ParameterPart::Embedding:
      addParameter(parts.front(), parameter, config);
      break;
    case ParameterPart::Layer:
      addParameter(part(kindName(config, parameter.spec.layer)), parameter, config);
      break;
    case ParameterPart::Head:
      addParameter(parts.back(), parameter, config);
      break;
    case ParameterPart::MtpFrame:
    case ParameterPart::MtpLayer:
      addParameter(*report.mtp, parameter, config);
      break;
    }
  }

  // Every entry names the same states, so each is counted once.
  llvm::StringSet<> seen;
  for (func::FuncOp func : module.getOps<func::FuncOp>()) {
    for (unsigned i = 0; i < func.getNumArguments(); ++i) {
      auto state = func.getArgAttrOfType<StateAttr>(i, "v4.state");
      if (!state || !seen.insert(state.getName()).second)
        continue;
      auto type = cast<RankedTensorType>(func.getArgumentTypes()[i]);
      StringRef name = state.getName();
      int64_t layer = 0;
      if (name.consume_front("layers.") && !name.consumeInteger(10, layer) && layer < config.layers)
        addState(part(kindName(config, layer)), state, type, contexts);
      else if (report.mtp)
        addState(*report.mtp, state, type, contexts);
    }
  }

  report.total = newRow("total");
  for (const ReportRow &row : report.parts)
    addRow(report.total, row);
  return report;
}

void mlir::v4::printReport(const Report &report, llvm::raw_ostream &os) {
  os << llvm::left_justify("part", 12) << llvm::right_justify("layers", 7) << llvm::right_justify("parameters", 22)
     << llvm::right_justify("active", 18) << "  weight bytes by format\n";
  for (const ReportRow &row : report.parts)
    printRow(row, os);
  printRow(report.total, os);
  if (report.mtp)
    printRow(*report.mtp, os);
  os << "active: parameters that one token uses, the head included, the embedding table not; total: without mtp\n";
  if (report.contexts.empty())
    return;
  os << "\nstate bytes" << (report.slots > 1 ? " of one slot" : "") << ": cache + compressor rows (module for "
     << (report.slots > 1 ? grouped(report.slots) + " slots with " : "") << "a context of "
     << grouped(report.maxContext) << ")\n";
  os << llvm::left_justify("context", 12);
  auto rows = [&](llvm::function_ref<void(const ReportRow &)> visit) {
    for (const ReportRow &row : report.parts)
      if (row.layers > 0)
        visit(row);
    visit(report.total);
    // Without mtp entries the module holds no state of the block.
    if (report.mtp && report.mtp->stateCapacity > 0)
      visit(*report.mtp);
  };
  rows([&](const ReportRow &row) { os << llvm::right_justify(row.name, 30); });
  os << '\n';
  for (auto [index, context] : llvm::enumerate(report.contexts)) {
    os << llvm::left_justify(grouped(context), 12);
    auto print = [&](int64_t slots) {
      rows([&](const ReportRow &row) {
        const StateBytes &bytes = row.state[index];
        os << llvm::right_justify(grouped(slots * bytes.cache) + " + " + grouped(slots * bytes.compressorRows), 30);
      });
      os << '\n';
    };
    print(1);
    if (report.slots > 1) {
      os << llvm::left_justify("all slots", 12);
      print(report.slots);
    }
  }
}

void mlir::v4::printReportJson(const Report &report, llvm::raw_ostream &os) {
  llvm::json::OStream json(os, /*IndentSize=*/2);
  auto rowObject = [&](const ReportRow &row) {
    json.attribute("name", row.name);
    json.attribute("layers", row.layers);
    json.attribute("parameters", row.parameters);
    json.attribute("active_parameters", row.active);
    json.attributeObject("weight_bytes", [&] {
      for (const auto &[format, bytes] : row.weightBytes)
        json.attribute(format, bytes);
    });
    json.attributeArray("state_bytes", [&] {
      for (auto [context, bytes] : llvm::zip_equal(report.contexts, row.state)) {
        json.object([&, context = context, bytes = bytes] {
          json.attribute("context", context);
          json.attribute("cache", bytes.cache);
          json.attribute("compressor_rows", bytes.compressorRows);
        });
      }
    });
    json.attribute("state_capacity_bytes", row.stateCapacity);
    json.attribute("state_capacity_bytes_of_all_slots", row.stateCapacity * report.slots);
  };
  json.object([&] {
    json.attribute("schema", "v4c.report");
    json.attribute("schema_version", 1);
    json.attribute("max_context", report.maxContext);
    json.attribute("slots", report.slots);
    json.attributeArray("parts", [&] {
      for (const ReportRow &row : report.parts)
        json.object([&] { rowObject(row); });
    });
    json.attributeObject("total", [&] { rowObject(report.total); });
    if (report.mtp)
      json.attributeObject("mtp", [&] { rowObject(*report.mtp); });
  });
  os << '\n';
}
