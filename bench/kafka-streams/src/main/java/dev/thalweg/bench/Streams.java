package dev.thalweg.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;

/**
 * The processor: BROKERS CASE GUARANTEE THREADS FOLDER [SECONDS]. Cases: {@code bytes} copies records as they are; {@code json} reads
 * each value and writes it, as a program does that works on fields; {@code count} counts by the field {@code key} in windows
 * of ten seconds of the field {@code at}; {@code hold} counts so in windows of a second, each of which stays open
 * for so many seconds as the next word says; it is found dead after fifteen seconds, and tells when what it has changes.
 */
public final class Streams {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Streams() {}

    public static void main(String[] words) {
        var settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-" + words[1] + "-" + words[2]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, words[0]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, words[2]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.parseInt(words[3]));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, words[4]);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put("auto.offset.reset", "earliest");
        // It is stopped while topics are filled.
        settings.put("session.timeout.ms", 300_000);
        var builder = new StreamsBuilder();
        switch (words[1]) {
            case "bytes" -> bytes(builder);
            case "json" -> json(builder);
            case "count" -> count(builder, Duration.ofSeconds(10), Duration.ofSeconds(1));
            case "hold" -> {
                count(builder, Duration.ofSeconds(1), Duration.ofSeconds(Long.parseLong(words[5])));
                settings.put("session.timeout.ms", 15_000);
            }
            default -> throw new IllegalArgumentException("unknown case " + words[1]);
        }
        var streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.setStateListener((state, before) -> System.out.println(System.currentTimeMillis() + " " + state));
        streams.start();
    }

    private static KStream<byte[], byte[]> input(StreamsBuilder builder) {
        return builder.stream("in", Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()));
    }

    private static void bytes(StreamsBuilder builder) {
        input(builder).to("out", Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
    }

    private static void json(StreamsBuilder builder) {
        input(builder).mapValues(value -> written(read(value))).to("out", Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
    }

    private static void count(StreamsBuilder builder, Duration size, Duration grace) {
        builder.stream(
                        "in",
                        Consumed.with(Serdes.String(), Serdes.ByteArray())
                                .withTimestampExtractor((record, before) -> read((byte[]) record.value()).get("at").asLong()))
                .groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
                .windowedBy(TimeWindows.ofSizeAndGrace(size, grace))
                .emitStrategy(EmitStrategy.onWindowClose())
                .count(Materialized.with(Serdes.String(), Serdes.Long()))
                .toStream()
                .map(Streams::row)
                .to("out", Produced.with(Serdes.String(), Serdes.ByteArray()));
    }

    private static KeyValue<String, byte[]> row(Windowed<String> window, Long events) {
        var row = JSON.createObjectNode();
        row.put("key", window.key());
        row.put("window_start", Instant.ofEpochMilli(window.window().start()).toString());
        row.put("events", events);
        return KeyValue.pair(window.key(), written(row));
    }

    private static JsonNode read(byte[] value) {
        try {
            return JSON.readTree(value);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static byte[] written(JsonNode node) {
        try {
            return JSON.writeValueAsBytes(node);
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }
}
