package dev.thalweg.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.stream.IntStream;
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
 * {@code close BROKERS PARTITIONS TO}, {@code look BROKERS PARTITIONS}. Events of keys of their own, the key of event {@code n}
 * being {@code n}: {@code spread BROKERS PARTITIONS FROM TO}, {@code flow BROKERS PARTITIONS FROM SECONDS} (one each
 * millisecond), {@code watch BROKERS PARTITIONS SECONDS} (tells the time, the key and the events of every committed row).
 */
public final class Topics {
    private static final int KEYS = 100;
    private static final int BYTES = 1_000;
    private static final int LONG_KEY = 100;
    private static final long DAY = 86_400_000;
    /** Event time begins at the last midnight: older records would be deleted, and with them what windows give out. */
    private static final long BASE = System.currentTimeMillis() / DAY * DAY;

    private Topics() {}

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "make" -> make(words[1], Integer.parseInt(words[2]));
            case "fill" -> fill(words[1], Long.parseLong(words[2]), Long.parseLong(words[3]));
            case "close" -> close(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]));
            case "spread" -> spread(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]), Long.parseLong(words[4]));
            case "flow" -> flow(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]), Long.parseLong(words[4]));
            case "watch" -> watch(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]));
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
        return value(key, n, BYTES);
    }

    private static byte[] value(String key, long n, int bytes) {
        var start = "{\"key\":\"" + key + "\",\"n\":" + n + ",\"at\":" + (BASE + n) + ",\"pad\":\"";
        var pad = "x".repeat(Math.max(0, bytes - start.length() - 2));
        return (start + pad + "\"}").getBytes(StandardCharsets.UTF_8);
    }

    /** Event {@code n} with a key of its own, of {@link #LONG_KEY} digits, in the partition that is its turn. */
    private static ProducerRecord<byte[], byte[]> of(long n, int partitions) {
        var key = String.format("%0" + LONG_KEY + "d", n);
        return new ProducerRecord<>("in", (int) (n % partitions), key.getBytes(StandardCharsets.UTF_8), value(key, n, 0));
    }

    private static void spread(String brokers, int partitions, long from, long to) {
        try (var producer = producer(brokers)) {
            for (long n = from; n < to; n++) {
                producer.send(of(n, partitions));
            }
        }
    }

    private static void flow(String brokers, int partitions, long from, long seconds) throws Exception {
        try (var producer = producer(brokers)) {
            long began = System.currentTimeMillis();
            System.out.println(began);
            for (long sent = 0; sent < seconds * 1_000; Thread.sleep(5)) {
                for (long due = System.currentTimeMillis() - began; sent < due; sent++) {
                    producer.send(of(from + sent, partitions));
                }
            }
        }
    }

    private static void watch(String brokers, int partitions, long seconds) throws Exception {
        var json = new ObjectMapper();
        var out = new PrintStream(new FileOutputStream(FileDescriptor.out), false);
        try (var consumer = reader(brokers, partitions)) {
            for (long began = System.nanoTime(); System.nanoTime() - began < seconds * 1_000_000_000; ) {
                var records = consumer.poll(Duration.ofMillis(100));
                long now = System.currentTimeMillis();
                for (var record : records) {
                    var row = json.readTree(record.value());
                    out.println(now + " " + Long.parseLong(row.path("key").asText()) + " " + row.path("events").asLong());
                }
                out.flush();
            }
        }
    }

    /** Reads what is committed in {@code out}, from its beginning. */
    private static KafkaConsumer<byte[], byte[]> reader(String brokers, int partitions) {
        var settings = brokers(brokers);
        settings.put("isolation.level", "read_committed");
        settings.put("fetch.max.bytes", 64 << 20);
        settings.put("max.partition.fetch.bytes", 16 << 20);
        settings.put("max.poll.records", 20_000);
        var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        var all = IntStream.range(0, partitions).mapToObj(partition -> new TopicPartition("out", partition)).toList();
        consumer.assign(all);
        consumer.seekToBeginning(all);
        return consumer;
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
        long rows = 0;
        long events = 0;
        var json = new ObjectMapper();
        try (var consumer = reader(brokers, partitions)) {
            var all = consumer.assignment();
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
