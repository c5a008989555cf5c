// A JDK's HttpClient as it is: on every plain connection it offers to go on with HTTP/2.
//
//     java Ask.java URL REQUESTS THREADS EXPECTED
//
// EXPECTED has one line per seed: what the answer must contain. Prints "right wrong failed".

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

public class Ask {
    static final AtomicInteger right = new AtomicInteger();
    static final AtomicInteger wrong = new AtomicInteger();
    static final AtomicInteger failed = new AtomicInteger();

    public static void main(String[] arguments) throws Exception {
        URI base = URI.create(arguments[0]);
        int requests = Integer.parseInt(arguments[1]);
        List<String> expected = Files.readAllLines(Path.of(arguments[3]));
        HttpClient client = HttpClient.newHttpClient();
        var pool = Executors.newFixedThreadPool(Integer.parseInt(arguments[2]));
        for (int number = 0; number < requests; number++) {
            int each = number;
            pool.submit(() -> ask(client, base, each, expected));
        }
        pool.shutdown();
        if (!pool.awaitTermination(600, TimeUnit.SECONDS)) {
            System.exit(1);
        }
        System.out.println(right + " " + wrong + " " + failed);
        System.exit(0);
    }

    static void ask(HttpClient client, URI base, int number, List<String> expected) {
        int seed = number % expected.size();
        String id = "java-" + number;
        // Some bodies are larger than what a proxy passes on in one piece.
        String space = " ".repeat(number % 7 == 0 ? 20_000 : number % 50);
        String body = "{\"prompt\": \"Bonjour\", \"max_tokens\": 24, \"seed\": " + seed + space + "}";
        var request = HttpRequest.newBuilder(base.resolve("/generate"))
                .header("content-type", "application/json")
                .header("x-request-id", id)
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        try {
            var reply = client.send(request, HttpResponse.BodyHandlers.ofString());
            boolean own = id.equals(reply.headers().firstValue("x-request-id").orElse(""));
            boolean good = reply.statusCode() == 200 && reply.body().contains(expected.get(seed));
            if (!own || !good) {
                System.err.println(id + " " + reply.statusCode() + " " + reply.headers().map());
            }
            (own && good ? right : wrong).incrementAndGet();
        } catch (Exception problem) {
            System.err.println(id + " " + problem);
            failed.incrementAndGet();
        }
    }
}
