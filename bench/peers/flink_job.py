"""The job on PyFlink: `python flink_job.py BOOTSTRAP OUT JAR TOPIC...`; ends at the end of its input."""

import json
import sys

from pyflink.common import Duration, SimpleStringSchema, Types, WatermarkStrategy
from pyflink.common.time import Time
from pyflink.common.watermark_strategy import TimestampAssigner
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.window import TumblingEventTimeWindows

from bench.peers.contributions import contributions, merge

_ROW = Types.TUPLE([Types.STRING(), Types.LONG(), Types.PICKLED_BYTE_ARRAY()])


class _Minute(TimestampAssigner):
    def extract_timestamp(self, value, record_timestamp):
        return value[1] * 60_000


if __name__ == "__main__":
    bootstrap, out, jar, *topics = sys.argv[1:]
    env = StreamExecutionEnvironment.get_execution_environment()
    env.set_parallelism(1)
    env.set_python_executable(sys.executable)
    env.add_jars(f"file://{jar}")
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(bootstrap)
        .set_topics(*topics)
        .set_group_id(f"{out}-flink")
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_bounded(KafkaOffsetsInitializer.latest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    sink = (
        KafkaSink.builder()
        .set_bootstrap_servers(bootstrap)
        .set_record_serializer(
            KafkaRecordSerializationSchema.builder()
            .set_topic(out)
            .set_value_serialization_schema(SimpleStringSchema())
            .build()
        )
        .build()
    )
    # Long enough for the partitions, which are read one faster than the other.
    late = WatermarkStrategy.for_bounded_out_of_orderness(Duration.of_hours(1)).with_timestamp_assigner(_Minute())
    (
        env.from_source(source, WatermarkStrategy.no_watermarks(), "events")
        .flat_map(lambda payload: contributions(payload.encode()), output_type=_ROW)
        .assign_timestamps_and_watermarks(late)
        .key_by(lambda row: row[0], key_type=Types.STRING())
        .window(TumblingEventTimeWindows.of(Time.minutes(1)))
        .reduce(lambda a, b: (a[0], a[1], merge(a[2], b[2])))
        .map(lambda row: json.dumps([row[0], row[1], row[2]]), output_type=Types.STRING())
        .sink_to(sink)
    )
    print("READY", flush=True)
    env.execute("kpis")
