// The bench's simple job as a Kafka Streams processor: exactly_once_v2, in-memory store with its changelog.
// Arguments: bootstrap, application id, input topic, output topic, commit interval in ms (0: the default), state folder.

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

public final class Job {
  @JsonIgnoreProperties(ignoreUnknown = true)
  public static final class Party {
    public String name;
  }

  @JsonIgnoreProperties(ignoreUnknown = true)
  public static final class Command {
    public String id, credit, action, tenant, currency, expiry, terms, maker, checker;
    public long amount;
    public int tolerance;
    public Party applicant, beneficiary;
    public List<String> documents;
  }

  public static final class Event {
    public String command, credit, type, refused, tenant, status, currency, applicant, beneficiary;
    public String expiry, maker, checker, terms;
    public long version, amount, drawn;
    public List<String> documents;
  }

  static final class Standing {
    long version, amount, drawn;
    String status = "new", applicant = "", beneficiary = "", expiry = "", last = "";
  }

  static byte[] write(Standing s) {
    try {
      ByteArrayOutputStream bytes = new ByteArrayOutputStream(160);
      DataOutputStream out = new DataOutputStream(bytes);
      out.writeLong(s.version);
      out.writeLong(s.amount);
      out.writeLong(s.drawn);
      for (String text : new String[] {s.status, s.applicant, s.beneficiary, s.expiry, s.last}) out.writeUTF(text);
      return bytes.toByteArray();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static Standing read(byte[] bytes) {
    try {
      DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes));
      Standing s = new Standing();
      s.version = in.readLong();
      s.amount = in.readLong();
      s.drawn = in.readLong();
      s.status = in.readUTF();
      s.applicant = in.readUTF();
      s.beneficiary = in.readUTF();
      s.expiry = in.readUTF();
      s.last = in.readUTF();
      return s;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static String decide(Standing s, Command c) {
    if (c.currency.length() != 3 || c.amount <= 0 || c.documents.isEmpty()) return "INVALID";
    if (c.maker.equals(c.checker)) return "FOUR_EYES";
    if (c.action.equals("apply")) {
      if (!s.status.equals("new") && !s.status.equals("paid")) return "CREDIT_EXISTS";
      s.status = "issued";
      s.amount = c.amount;
      s.drawn = 0;
      s.applicant = c.applicant.name;
      s.beneficiary = c.beneficiary.name;
      s.expiry = c.expiry;
      return "";
    }
    if (s.status.equals("new")) return "CREDIT_UNKNOWN";
    switch (c.action) {
      case "amend" -> s.amount = c.amount;
      case "present" -> {
        long drawn = s.drawn + c.amount;
        if (drawn * 100 > s.amount * (100 + c.tolerance)) return "OVERDRAWN";
        s.status = "presented";
        s.drawn = drawn;
      }
      case "examine" -> s.status = "examined";
      case "accept" -> s.status = "accepted";
      default -> s.status = "paid";
    }
    return "";
  }

  static final class Decider implements Processor<String, byte[], String, byte[]> {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private final ObjectReader reader = MAPPER.readerFor(Command.class);
    private final ObjectWriter writer = MAPPER.writerFor(Event.class);
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, Standing> store;

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
      this.context = context;
      this.store = context.getStateStore("credits");
    }

    @Override
    public void process(Record<String, byte[]> record) {
      try {
        Command c = reader.readValue(record.value());
        Standing s = store.get(c.credit);
        if (s == null) s = new Standing();
        String refused = decide(s, c);
        s.version++;
        s.last = c.id;
        store.put(c.credit, s);
        Event e = new Event();
        e.command = c.id;
        e.credit = c.credit;
        e.version = s.version;
        e.type = refused.isEmpty() ? c.action : "refused";
        e.refused = refused;
        e.tenant = c.tenant;
        e.status = s.status;
        e.amount = s.amount;
        e.drawn = s.drawn;
        e.currency = c.currency;
        e.applicant = s.applicant;
        e.beneficiary = s.beneficiary;
        e.expiry = s.expiry;
        e.maker = c.maker;
        e.checker = c.checker;
        e.documents = c.documents;
        e.terms = c.terms;
        context.forward(record.withValue(writer.writeValueAsBytes(e)));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  public static void main(String[] a) {
    Properties p = new Properties();
    p.put("bootstrap.servers", a[0]);
    p.put("application.id", a[1]);
    p.put("processing.guarantee", "exactly_once_v2");
    p.put("num.stream.threads", "1");
    p.put("replication.factor", "1");
    p.put("state.dir", a[5]);
    p.put("consumer.auto.offset.reset", "earliest");
    if (!a[4].equals("0")) p.put("commit.interval.ms", a[4]);
    Serde<Standing> serde = Serdes.serdeFrom((topic, s) -> s == null ? null : write(s), (topic, b) -> b == null ? null : read(b));
    Topology t = new Topology();
    t.addSource("commands", new StringDeserializer(), new ByteArrayDeserializer(), a[2]);
    t.addProcessor("decide", Decider::new, "commands");
    t.addStateStore(
        Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("credits"), Serdes.String(), serde), "decide");
    t.addSink("events", a[3], new StringSerializer(), new ByteArraySerializer(), "decide");
    KafkaStreams streams = new KafkaStreams(t, p);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
    streams.start();
  }
}
