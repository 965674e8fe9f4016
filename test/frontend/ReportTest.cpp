// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Totals of the released models and of small ones.

#include "frontend/Report.h"
#include "TestSupport.h"

using namespace mlir;
using namespace mlir::v4;
using namespace mlir::v4::test;

namespace {

Report reportOf(Session &session, StringRef name, bool mtp, ArrayRef<int64_t> contexts) {
  FailureOr<Config> config = parseConfig(&session.context, editConfig(name), "config.json");
  EXPECT_TRUE(succeeded(config));
  ImportOptions options;
  options.mtp = mtp;
  options.maxContext = config->maxPositions;
  options.prefill = {16};
  FailureOr<OwningOpRef<ModuleOp>> module = importModel(&session.context, *config, nullptr, options);
  EXPECT_TRUE(succeeded(module)) << session.allErrors();
  FailureOr<Report> report = makeReport(**module, *config, nullptr, contexts);
  EXPECT_TRUE(succeeded(report));
  return *report;
}

int64_t allBytes(const ReportRow &row) {
  int64_t sum = 0;
  for (const auto &[format, bytes] : row.weightBytes)
    sum += bytes;
  return sum;
}

// Totals as published, in exact form from an enumeration of the checkpoint that was written independently.
TEST(Report, Flash) {
  Session session;
  Report report = reportOf(session, "flash", false, {4096, 1048576});
  EXPECT_EQ(report.total.parameters, 284332240471);
  EXPECT_EQ(report.total.active, 13270101591);
  ASSERT_TRUE(report.mtp.has_value());
  EXPECT_EQ(report.mtp->parameters, 6610048891);
  EXPECT_EQ(allBytes(report.total) + allBytes(*report.mtp), 159609485896);
  EXPECT_EQ(report.total.layers, 43);
  std::vector<std::string> names;
  for (const ReportRow &row : report.parts)
    names.push_back(row.name);
  EXPECT_EQ(names, (std::vector<std::string>{"embedding", "swa-hash", "csa-hash", "hca-scored", "csa-scored", "head"}));
}

TEST(Report, Pro) {
  Session session;
  Report report = reportOf(session, "pro", true, {1048576});
  EXPECT_EQ(report.total.parameters, 1572997201763);
  EXPECT_EQ(report.total.active, 48852402019);
  ASSERT_TRUE(report.mtp.has_value());
  EXPECT_EQ(report.mtp->parameters, 25840145979);
  EXPECT_EQ(allBytes(report.total) + allBytes(*report.mtp), 864704792696);
  // 17.8 MiB of compressor rows per sequence.
  EXPECT_EQ(report.total.state[0].compressorRows, 30 * (65536 + 16384) + 31 * 524288);
  // f32 entries: windows, CSA entries and keys, HCA entries.
  EXPECT_EQ(report.total.state[0].cache,
            61 * 128 * 2048 + int64_t(30) * 262144 * (2048 + 512) + int64_t(31) * 8192 * 2048);
  EXPECT_EQ(report.mtp->state[0].cache, 128 * 2048);
  EXPECT_EQ(report.total.state[0].cache + report.total.state[0].compressorRows, report.total.stateCapacity);
}

TEST(Report, ShortContexts) {
  Session session;
  Report report = reportOf(session, "tiny", false, {1, 8, 100});
  int64_t row = 72 * 4;
  EXPECT_EQ(report.total.state[0].cache, 6 * row);
  EXPECT_EQ(report.total.state[1].cache, 6 * 8 * row + 2 * 2 * (row + 32 * 4));
  EXPECT_EQ(report.total.state[2].cache, 6 * 8 * row + 2 * 25 * (row + 32 * 4) + 2 * 6 * row);
  EXPECT_EQ(report.mtp->state[2].cache, 0) << "the module has no mtp entry";
}

TEST(Report, CheckpointWithoutMtp) {
  Session session;
  FailureOr<Config> config = readConfig(&session.context, goldenCheckpoint("tiny-hf"));
  auto checkpoint = readCheckpoint(&session.context, goldenCheckpoint("tiny-hf"));
  ASSERT_TRUE(succeeded(config) && succeeded(checkpoint));
  FailureOr<OwningOpRef<ModuleOp>> module =
      importModel(&session.context, *config, checkpoint->get(), importOptions(1024, {16}));
  ASSERT_TRUE(succeeded(module)) << session.allErrors();
  FailureOr<Report> report = makeReport(**module, *config, checkpoint->get(), {});
  ASSERT_TRUE(succeeded(report));
  EXPECT_FALSE(report->mtp);
  EXPECT_EQ(report->total.weightBytes.lookup("fp8"), 0);
  EXPECT_EQ(allBytes(report->total), 2415068 - 8 - 15224);
  std::string text;
  llvm::raw_string_ostream os(text);
  printReport(*report, os);
  EXPECT_EQ(text.find("state bytes"), std::string::npos);
}

TEST(Report, MissingTensor) {
  Session session;
  FailureOr<Config> config = readConfig(&session.context, goldenCheckpoint("tiny-hf"));
  FailureOr<OwningOpRef<ModuleOp>> module = importModel(&session.context, *config, nullptr, importOptions(1024, {16}));
  ASSERT_TRUE(succeeded(module));
  Checkpoint empty;
  EXPECT_TRUE(failed(makeReport(**module, *config, &empty, {})));
}

TEST(Report, Text) {
  Session session;
  Report report = reportOf(session, "flash", true, {1048576});
  std::string text;
  llvm::raw_string_ostream os(text);
  printReport(report, os);
  for (StringRef part : {"284,332,240,471", "13,270,101,591", "6,610,048,891", "csa-scored", "fp4 147,169,738,752",
                         "14,439,677,952 + 12,206,080", "1,048,576"})
    EXPECT_NE(text.find(part.str()), std::string::npos) << part.str() << "\n" << text;
}

TEST(Report, Json) {
  Session session;
  Report report = reportOf(session, "flash", true, {4096, 1048576});
  std::string text;
  llvm::raw_string_ostream os(text);
  printReportJson(report, os);
  llvm::Expected<llvm::json::Value> root = llvm::json::parse(text);
  ASSERT_TRUE(bool(root)) << text;
  const llvm::json::Object &object = *root->getAsObject();
  EXPECT_EQ(*object.getString("schema"), "v4c.report");
  EXPECT_EQ(*object.getInteger("max_context"), 1048576);
  const llvm::json::Object &total = *object.getObject("total");
  EXPECT_EQ(*total.getInteger("parameters"), 284332240471);
  EXPECT_EQ(*total.getInteger("active_parameters"), 13270101591);
  EXPECT_EQ(*total.getObject("weight_bytes")->getInteger("fp4"), 147169738752);
  EXPECT_EQ(*(*total.getArray("state_bytes"))[1].getAsObject()->getInteger("cache"), 14439677952);
  EXPECT_EQ(*object.getObject("mtp")->getInteger("parameters"), 6610048891);
  EXPECT_EQ(object.getArray("parts")->size(), 6u);
}

} // namespace
