// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Target files.

#include "tools/TargetFile.h"

#include "frontend/Files.h"
#include "frontend/Json.h"

#include <optional>

using namespace mlir;
using namespace mlir::v4;

/// A number above 0; none where `root` has no `name`.
static FailureOr<std::optional<double>> readRate(MLIRContext *context, StringRef path, const json::Value &root,
                                                 StringRef name) {
  const json::Value *rate = root.find(name);
  if (!rate)
    return std::optional<double>();
  auto fail = [&] {
    return contentError(context, path) << "expected '" << name << "' to be a number above 0, found "
                                       << rate->describe();
  };
  if (rate->kind != json::Value::Kind::Number)
    return fail();
  const json::Number &number = rate->number;
  double value = number.kind == json::Number::Kind::Real     ? number.asReal
                 : number.kind == json::Number::Kind::Signed ? static_cast<double>(number.asSigned)
                                                             : static_cast<double>(number.asUnsigned);
  if (!(value > 0))
    return fail();
  return std::optional<double>(value);
}

FailureOr<MachineFigures> v4::readTargetFile(MLIRContext *context, StringRef path) {
  constexpr uint64_t kMaxBytes = 1 << 20;
  FailureOr<std::string> text = readTextFile(context, path, kMaxBytes);
  if (failed(text))
    return failure();
  json::Value root;
  json::Error error;
  if (!json::parse(*text, root, error)) {
    auto [line, column] = json::lineAndColumn(*text, error.offset);
    return emitError(FileLineColLoc::get(context, path, line, column)) << error.message;
  }
  const json::Value *schema = root.find("schema");
  if (!schema || schema->kind != json::Value::Kind::String || schema->string != "v4-target")
    return contentError(context, path)
           << "expected \"schema\": \"v4-target\", as v4-bench --probe --write-target=FILE writes it";
  // The best of several repetitions: other work on the machine disturbs it least.
  FailureOr<std::optional<double>> fp32 = readRate(context, path, root, "best_fp32_flops");
  FailureOr<std::optional<double>> dot = readRate(context, path, root, "best_bf16_dot_flops");
  if (failed(fp32) || failed(dot))
    return failure();
  if (!*fp32)
    return contentError(context, path) << "expected 'best_fp32_flops', found none";
  MachineFigures figures;
  figures.fastBf16Dot = *dot && **dot > **fp32;
  return figures;
}
