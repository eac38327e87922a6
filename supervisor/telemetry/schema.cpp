#include "telemetry/schema.hpp"

#include <iterator>

namespace runmain::telemetry {
namespace {

using T = FieldType;

extern const Message kArrayValue;
extern const Message kKeyValueList;
extern const Message kExemplar;

constexpr Field text(std::uint32_t number, std::string_view name) { return {number, name, T::string}; }
constexpr Field plain(std::uint32_t number, std::string_view name, FieldType type) {
  return {number, name, type};
}
constexpr Field one(std::uint32_t number, std::string_view name, const Message& message) {
  return {number, name, T::message, false, &message};
}
constexpr Field many(std::uint32_t number, std::string_view name, const Message& message) {
  return {number, name, T::message, true, &message};
}
constexpr Field numbers(std::uint32_t number, std::string_view name, FieldType type) {
  return {number, name, type, true};
}

constexpr Field one_of(Field field) {
  field.one_of = true;
  return field;
}

template <std::size_t N>
constexpr Message message(std::string_view name, const Field (&fields)[N]) {
  bool has_one_of = false;
  for (const Field& field : fields) has_one_of = has_one_of || field.one_of;
  return {name, fields, N, has_one_of};
}

// ---- common, resource

constexpr Field kAnyValueFields[] = {one_of(text(1, "stringValue")),
                                     one_of(plain(2, "boolValue", T::boolean)),
                                     one_of(plain(3, "intValue", T::int64)),
                                     one_of(plain(4, "doubleValue", T::real)),
                                     one_of(one(5, "arrayValue", kArrayValue)),
                                     one_of(one(6, "kvlistValue", kKeyValueList)),
                                     one_of(plain(7, "bytesValue", T::bytes))};
constexpr Field kArrayValueFields[] = {many(1, "values", kAnyValue)};
constexpr Field kKeyValueListFields[] = {many(1, "values", kKeyValue)};
constexpr Field kKeyValueFields[] = {text(1, "key"), one(2, "value", kAnyValue)};
constexpr Field kScopeFields[] = {text(1, "name"), text(2, "version"), many(3, "attributes", kKeyValue),
                                  plain(4, "droppedAttributesCount", T::uint32)};
constexpr Field kEntityRefFields[] = {text(1, "schemaUrl"), text(2, "type"), numbers(3, "idKeys", T::string),
                                      numbers(4, "descriptionKeys", T::string)};
constexpr Message kEntityRef = message("EntityRef", kEntityRefFields);
constexpr Field kResourceFields[] = {many(1, "attributes", kKeyValue),
                                     plain(2, "droppedAttributesCount", T::uint32),
                                     many(3, "entityRefs", kEntityRef)};

// ---- traces

constexpr Field kEventFields[] = {plain(1, "timeUnixNano", T::fixed64), text(2, "name"),
                                  many(3, "attributes", kKeyValue),
                                  plain(4, "droppedAttributesCount", T::uint32)};
constexpr Message kEvent = message("Event", kEventFields);
constexpr Field kLinkFields[] = {plain(1, "traceId", T::trace_id),
                                 plain(2, "spanId", T::span_id),
                                 text(3, "traceState"),
                                 many(4, "attributes", kKeyValue),
                                 plain(5, "droppedAttributesCount", T::uint32),
                                 plain(6, "flags", T::fixed32)};
constexpr Message kLink = message("Link", kLinkFields);
constexpr Field kStatusFields[] = {text(2, "message"), plain(3, "code", T::enumeration)};
constexpr Message kStatus = message("Status", kStatusFields);
constexpr Field kSpanFields[] = {plain(1, "traceId", T::trace_id),
                                 plain(2, "spanId", T::span_id),
                                 text(3, "traceState"),
                                 plain(4, "parentSpanId", T::span_id),
                                 text(5, "name"),
                                 plain(6, "kind", T::enumeration),
                                 plain(7, "startTimeUnixNano", T::fixed64),
                                 plain(8, "endTimeUnixNano", T::fixed64),
                                 many(9, "attributes", kKeyValue),
                                 plain(10, "droppedAttributesCount", T::uint32),
                                 many(11, "events", kEvent),
                                 plain(12, "droppedEventsCount", T::uint32),
                                 many(13, "links", kLink),
                                 plain(14, "droppedLinksCount", T::uint32),
                                 one(15, "status", kStatus),
                                 plain(16, "flags", T::fixed32)};
constexpr Field kScopeSpansFields[] = {one(1, "scope", kScope), many(2, "spans", kSpan),
                                       text(3, "schemaUrl")};
constexpr Message kScopeSpans = message("ScopeSpans", kScopeSpansFields);
constexpr Field kResourceSpansFields[] = {one(1, "resource", kResource), many(2, "scopeSpans", kScopeSpans),
                                          text(3, "schemaUrl")};
constexpr Message kResourceSpans = message("ResourceSpans", kResourceSpansFields);
constexpr Field kTracesFields[] = {many(1, "resourceSpans", kResourceSpans)};
constexpr Message kTraces = message("ExportTraceServiceRequest", kTracesFields);

// ---- logs

constexpr Field kLogRecordFields[] = {plain(1, "timeUnixNano", T::fixed64),
                                      plain(2, "severityNumber", T::enumeration),
                                      text(3, "severityText"),
                                      one(5, "body", kAnyValue),
                                      many(6, "attributes", kKeyValue),
                                      plain(7, "droppedAttributesCount", T::uint32),
                                      plain(8, "flags", T::fixed32),
                                      plain(9, "traceId", T::trace_id),
                                      plain(10, "spanId", T::span_id),
                                      plain(11, "observedTimeUnixNano", T::fixed64),
                                      text(12, "eventName")};
constexpr Field kScopeLogsFields[] = {one(1, "scope", kScope), many(2, "logRecords", kLogRecord),
                                      text(3, "schemaUrl")};
constexpr Message kScopeLogs = message("ScopeLogs", kScopeLogsFields);
constexpr Field kResourceLogsFields[] = {one(1, "resource", kResource), many(2, "scopeLogs", kScopeLogs),
                                         text(3, "schemaUrl")};
constexpr Message kResourceLogs = message("ResourceLogs", kResourceLogsFields);
constexpr Field kLogsFields[] = {many(1, "resourceLogs", kResourceLogs)};
constexpr Message kLogs = message("ExportLogsServiceRequest", kLogsFields);

// ---- metrics

constexpr Field kNumberPointFields[] = {plain(2, "startTimeUnixNano", T::fixed64),
                                        plain(3, "timeUnixNano", T::fixed64),
                                        one_of(plain(4, "asDouble", T::real)),
                                        many(5, "exemplars", kExemplar),
                                        one_of(plain(6, "asInt", T::sfixed64)),
                                        many(7, "attributes", kKeyValue),
                                        plain(8, "flags", T::uint32)};
constexpr Message kNumberPoint = message("NumberDataPoint", kNumberPointFields);
constexpr Field kHistogramPointFields[] = {plain(2, "startTimeUnixNano", T::fixed64),
                                           plain(3, "timeUnixNano", T::fixed64),
                                           plain(4, "count", T::fixed64),
                                           plain(5, "sum", T::real),
                                           numbers(6, "bucketCounts", T::fixed64),
                                           numbers(7, "explicitBounds", T::real),
                                           many(8, "exemplars", kExemplar),
                                           many(9, "attributes", kKeyValue),
                                           plain(10, "flags", T::uint32),
                                           plain(11, "min", T::real),
                                           plain(12, "max", T::real)};
constexpr Message kHistogramPoint = message("HistogramDataPoint", kHistogramPointFields);
constexpr Field kBucketsFields[] = {plain(1, "offset", T::sint32), numbers(2, "bucketCounts", T::uint64)};
constexpr Message kBuckets = message("Buckets", kBucketsFields);
constexpr Field kExponentialPointFields[] = {many(1, "attributes", kKeyValue),
                                             plain(2, "startTimeUnixNano", T::fixed64),
                                             plain(3, "timeUnixNano", T::fixed64),
                                             plain(4, "count", T::fixed64),
                                             plain(5, "sum", T::real),
                                             plain(6, "scale", T::sint32),
                                             plain(7, "zeroCount", T::fixed64),
                                             one(8, "positive", kBuckets),
                                             one(9, "negative", kBuckets),
                                             plain(10, "flags", T::uint32),
                                             many(11, "exemplars", kExemplar),
                                             plain(12, "min", T::real),
                                             plain(13, "max", T::real),
                                             plain(14, "zeroThreshold", T::real)};
constexpr Message kExponentialPoint = message("ExponentialHistogramDataPoint", kExponentialPointFields);
constexpr Field kQuantileFields[] = {plain(1, "quantile", T::real), plain(2, "value", T::real)};
constexpr Message kQuantile = message("ValueAtQuantile", kQuantileFields);
constexpr Field kSummaryPointFields[] = {plain(2, "startTimeUnixNano", T::fixed64),
                                         plain(3, "timeUnixNano", T::fixed64),
                                         plain(4, "count", T::fixed64),
                                         plain(5, "sum", T::real),
                                         many(6, "quantileValues", kQuantile),
                                         many(7, "attributes", kKeyValue),
                                         plain(8, "flags", T::uint32)};
constexpr Message kSummaryPoint = message("SummaryDataPoint", kSummaryPointFields);
constexpr Field kExemplarFields[] = {
    plain(2, "timeUnixNano", T::fixed64),   one_of(plain(3, "asDouble", T::real)),
    plain(4, "spanId", T::span_id),         plain(5, "traceId", T::trace_id),
    one_of(plain(6, "asInt", T::sfixed64)), many(7, "filteredAttributes", kKeyValue)};

constexpr Field kGaugeFields[] = {many(1, "dataPoints", kNumberPoint)};
constexpr Message kGauge = message("Gauge", kGaugeFields);
constexpr Field kSumFields[] = {many(1, "dataPoints", kNumberPoint),
                                plain(2, "aggregationTemporality", T::enumeration),
                                plain(3, "isMonotonic", T::boolean)};
constexpr Message kSum = message("Sum", kSumFields);
constexpr Field kHistogramFields[] = {many(1, "dataPoints", kHistogramPoint),
                                      plain(2, "aggregationTemporality", T::enumeration)};
constexpr Message kHistogram = message("Histogram", kHistogramFields);
constexpr Field kExponentialFields[] = {many(1, "dataPoints", kExponentialPoint),
                                        plain(2, "aggregationTemporality", T::enumeration)};
constexpr Message kExponential = message("ExponentialHistogram", kExponentialFields);
constexpr Field kSummaryFields[] = {many(1, "dataPoints", kSummaryPoint)};
constexpr Message kSummary = message("Summary", kSummaryFields);
constexpr Field kMetricFields[] = {text(1, "name"),
                                   text(2, "description"),
                                   text(3, "unit"),
                                   one_of(one(5, "gauge", kGauge)),
                                   one_of(one(7, "sum", kSum)),
                                   one_of(one(9, "histogram", kHistogram)),
                                   one_of(one(10, "exponentialHistogram", kExponential)),
                                   one_of(one(11, "summary", kSummary)),
                                   many(12, "metadata", kKeyValue)};
constexpr Field kScopeMetricsFields[] = {one(1, "scope", kScope), many(2, "metrics", kMetric),
                                         text(3, "schemaUrl")};
constexpr Message kScopeMetrics = message("ScopeMetrics", kScopeMetricsFields);
constexpr Field kResourceMetricsFields[] = {one(1, "resource", kResource),
                                            many(2, "scopeMetrics", kScopeMetrics), text(3, "schemaUrl")};
constexpr Message kResourceMetrics = message("ResourceMetrics", kResourceMetricsFields);
constexpr Field kMetricsFields[] = {many(1, "resourceMetrics", kResourceMetrics)};
constexpr Message kMetrics = message("ExportMetricsServiceRequest", kMetricsFields);

// ---- answers

constexpr Field kTracesPartialFields[] = {plain(1, "rejectedSpans", T::int64), text(2, "errorMessage")};
constexpr Message kTracesPartial = message("ExportTracePartialSuccess", kTracesPartialFields);
constexpr Field kTracesAnswerFields[] = {one(1, "partialSuccess", kTracesPartial)};
constexpr Message kTracesAnswer = message("ExportTraceServiceResponse", kTracesAnswerFields);
constexpr Field kMetricsPartialFields[] = {plain(1, "rejectedDataPoints", T::int64), text(2, "errorMessage")};
constexpr Message kMetricsPartial = message("ExportMetricsPartialSuccess", kMetricsPartialFields);
constexpr Field kMetricsAnswerFields[] = {one(1, "partialSuccess", kMetricsPartial)};
constexpr Message kMetricsAnswer = message("ExportMetricsServiceResponse", kMetricsAnswerFields);
constexpr Field kLogsPartialFields[] = {plain(1, "rejectedLogRecords", T::int64), text(2, "errorMessage")};
constexpr Message kLogsPartial = message("ExportLogsPartialSuccess", kLogsPartialFields);
constexpr Field kLogsAnswerFields[] = {one(1, "partialSuccess", kLogsPartial)};
constexpr Message kLogsAnswer = message("ExportLogsServiceResponse", kLogsAnswerFields);

const Message kArrayValue = message("ArrayValue", kArrayValueFields);
const Message kKeyValueList = message("KeyValueList", kKeyValueListFields);
const Message kExemplar = message("Exemplar", kExemplarFields);

}  // namespace

const Message kAnyValue = message("AnyValue", kAnyValueFields);
const Message kKeyValue = message("KeyValue", kKeyValueFields);
const Message kResource = message("Resource", kResourceFields);
const Message kScope = message("InstrumentationScope", kScopeFields);
const Message kSpan = message("Span", kSpanFields);
const Message kLogRecord = message("LogRecord", kLogRecordFields);
const Message kMetric = message("Metric", kMetricFields);

const Message& request_message(Signal signal) {
  if (signal == Signal::traces) return kTraces;
  return signal == Signal::metrics ? kMetrics : kLogs;
}

const Message& item_message(Signal signal) {
  if (signal == Signal::traces) return kSpan;
  return signal == Signal::metrics ? kMetric : kLogRecord;
}

const Message& response_message(Signal signal) {
  if (signal == Signal::traces) return kTracesAnswer;
  return signal == Signal::metrics ? kMetricsAnswer : kLogsAnswer;
}

}  // namespace runmain::telemetry
