package dev.thalweg.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Makes topics, fills them, looks at them: {@code make BROKERS PARTITIONS}, {@code fill BROKERS FROM TO},
 * {@code close BROKERS PARTITIONS TO}, {@code look BROKERS PARTITIONS}.
 */
public final class Topics {
    private static final int KEYS = 100;
    private static final int BYTES = 1_000;
    private static final long DAY = 86_400_000;
    /** Event time begins at the last midnight: older records would be deleted, and with them what windows give out. */
    private static final long BASE = System.currentTimeMillis() / DAY * DAY;

    private Topics() {}

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "make" -> make(words[1], Integer.parseInt(words[2]));
            case "fill" -> fill(words[1], Long.parseLong(words[2]), Long.parseLong(words[3]));
            case "close" -> close(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]));
            case "look" -> look(words[1], Integer.parseInt(words[2]));
            default -> throw new IllegalArgumentException("unknown order " + words[0]);
        }
    }

    private static Properties brokers(String brokers) {
        var settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        return settings;
    }

    private static void make(String brokers, int partitions) throws ExecutionException, InterruptedException {
        try (var admin = Admin.create(brokers(brokers))) {
            var made = List.of(new NewTopic("in", partitions, (short) 1), new NewTopic("out", partitions, (short) 1));
            admin.createTopics(made).all().get();
        }
    }

    private static KafkaProducer<byte[], byte[]> producer(String brokers) {
        var settings = brokers(brokers);
        settings.put("linger.ms", 20);
        settings.put("batch.size", 256 << 10);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Event {@code n} of all, a millisecond after the one before; a value has {@link #BYTES} bytes. */
    private static byte[] value(String key, long n) {
        var start = "{\"key\":\"" + key + "\",\"n\":" + n + ",\"at\":" + (BASE + n) + ",\"pad\":\"";
        return (start + "x".repeat(BYTES - start.length() - 2) + "\"}").getBytes(StandardCharsets.UTF_8);
    }

    private static void fill(String brokers, long from, long to) {
        try (var producer = producer(brokers)) {
            for (long n = from; n < to; n++) {
                var key = "k" + n % KEYS;
                producer.send(new ProducerRecord<>("in", key.getBytes(StandardCharsets.UTF_8), value(key, n)));
            }
        }
    }

    /** One event an hour later in each partition closes every window but its own. */
    private static void close(String brokers, int partitions, long to) {
        try (var producer = producer(brokers)) {
            for (int partition = 0; partition < partitions; partition++) {
                var key = "end" + partition;
                var value = value(key, to + DAY / 24);
                producer.send(new ProducerRecord<>("in", partition, key.getBytes(StandardCharsets.UTF_8), value));
            }
        }
    }

    /** Prints how many committed records {@code out} has, and the sum of their field {@code events}. */
    private static void look(String brokers, int partitions) throws Exception {
        var settings = brokers(brokers);
        settings.put("isolation.level", "read_committed");
        settings.put("fetch.max.bytes", 64 << 20);
        settings.put("max.partition.fetch.bytes", 16 << 20);
        settings.put("max.poll.records", 20_000);
        long rows = 0;
        long events = 0;
        var json = new ObjectMapper();
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            var all = new ArrayList<TopicPartition>();
            for (int partition = 0; partition < partitions; partition++) {
                all.add(new TopicPartition("out", partition));
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            var ends = consumer.endOffsets(all);
            while (all.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    rows++;
                    if (record.value().length < BYTES / 2) {
                        events += json.readTree(record.value()).path("events").asLong();
                    }
                }
            }
        }
        System.out.println("{\"rows\":" + rows + ",\"events\":" + events + "}");
    }
}
