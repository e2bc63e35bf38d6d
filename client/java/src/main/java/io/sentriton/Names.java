package io.sentriton;

import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.Status;
import io.grpc.StatusOr;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.Hashtable;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import javax.naming.Context;
import javax.naming.NamingException;
import javax.naming.directory.Attribute;
import javax.naming.directory.InitialDirContext;
import org.jspecify.annotations.Nullable;

/**
 * Resolves the names of servers, at most every 5 s. gRPC's own resolver does so every 30 s, and ignores the name server
 * of dns://server:53/host:port.
 */
final class Names extends NameResolver {
    private static final String SCHEME = "sentriton";
    private static final double LEAST_BETWEEN_S = 5;

    static {
        NameResolverRegistry.getDefaultRegistry().register(new Provider());
    }

    private final String host;
    private final int port;
    private final @Nullable String nameServer;
    private final Executor executor;
    private final @Nullable ScheduledExecutorService timer;
    private @Nullable Listener2 listener;
    private double resolved = Double.NEGATIVE_INFINITY;
    private boolean resolving;
    private boolean closed;

    private Names(String address, @Nullable String nameServer, Args args) {
        int colon = address.lastIndexOf(':');
        String name = address.substring(0, colon);
        this.host = name.startsWith("[") ? name.substring(1, name.length() - 1) : name;
        this.port = Integer.parseInt(address.substring(colon + 1));
        this.nameServer = nameServer;
        Executor offload = args.getOffloadExecutor();
        this.executor = offload == null ? ForkJoinPool.commonPool() : offload;
        this.timer = args.getScheduledExecutorService();
    }

    /** gRPC's name of an address of the setting {@code url}. */
    static String target(String address) {
        String rest = address.startsWith("dns://") ? address.substring("dns://".length()) : "/" + address;
        // A path may not have brackets.
        return SCHEME + "://" + rest.replace("[", "%5B").replace("]", "%5D");
    }

    @Override
    public String getServiceAuthority() {
        return (host.indexOf(':') >= 0 ? "[" + host + "]" : host) + ":" + port;
    }

    @Override
    public synchronized void start(Listener2 given) {
        listener = given;
        refresh();
    }

    @Override
    public synchronized void refresh() {
        if (resolving || closed) {
            return;
        }
        resolving = true;
        double waitS = resolved + LEAST_BETWEEN_S - Clock.now();
        if (waitS <= 0 || timer == null) {
            begin();
        } else {
            timer.schedule(this::begin, Clock.nanos(waitS), TimeUnit.NANOSECONDS);
        }
    }

    /** An ended channel has released its executor. A task would create another one, whose threads would stay. */
    private synchronized void begin() {
        if (!closed) {
            executor.execute(this::resolve);
        }
    }

    @Override
    public synchronized void shutdown() {
        closed = true;
    }

    private void resolve() {
        StatusOr<List<EquivalentAddressGroup>> found;
        try {
            List<EquivalentAddressGroup> groups = new ArrayList<>();
            for (InetAddress address : nameServer == null ? InetAddress.getAllByName(host) : ask(nameServer)) {
                SocketAddress socket = new InetSocketAddress(address, port);
                groups.add(new EquivalentAddressGroup(socket));
            }
            found = StatusOr.fromValue(groups);
        } catch (Exception error) { // JNDI also throws unchecked ones, for example for an invalid port
            String server = nameServer == null ? "" : " at the name server " + nameServer;
            found = StatusOr.fromStatus(Status.UNAVAILABLE
                    .withDescription("no address is known for the host " + host + server)
                    .withCause(error));
        } finally {
            synchronized (this) {
                resolving = false;
                resolved = Clock.now();
            }
        }
        Listener2 waiting;
        synchronized (this) {
            waiting = closed ? null : listener;
        }
        if (waiting != null) {
            waiting.onResult(ResolutionResult.newBuilder().setAddressesOrError(found).build());
        }
    }

    /** The addresses of the host at a name server. JNDI looks up only records, and no objects. */
    private InetAddress[] ask(String server) throws NamingException, UnknownHostException {
        if (host.indexOf(':') >= 0 || host.matches("[0-9.]+")) {
            return new InetAddress[] {InetAddress.getByName(host)};
        }
        Hashtable<String, String> environment = new Hashtable<>();
        environment.put(Context.INITIAL_CONTEXT_FACTORY, "com.sun.jndi.dns.DnsContextFactory");
        environment.put(Context.PROVIDER_URL, "dns://" + server);
        List<InetAddress> found = new ArrayList<>();
        InitialDirContext context = new InitialDirContext(environment);
        try {
            // Two separate queries, since a query for both asks for all record types, which name servers reject.
            for (String kind : new String[] {"A", "AAAA"}) {
                Attribute record = context.getAttributes(host, new String[] {kind}).get(kind);
                for (int place = 0; record != null && place < record.size(); place++) {
                    found.add(InetAddress.getByName(String.valueOf(record.get(place))));
                }
            }
        } finally {
            context.close();
        }
        if (found.isEmpty()) {
            throw new UnknownHostException(host);
        }
        return found.toArray(InetAddress[]::new);
    }

    private static final class Provider extends NameResolverProvider {
        @Override
        protected boolean isAvailable() {
            return true;
        }

        @Override
        protected int priority() {
            return 0; // never gRPC's default
        }

        @Override
        public String getDefaultScheme() {
            return SCHEME;
        }

        @Override
        public @Nullable NameResolver newNameResolver(URI target, Args args) {
            if (!SCHEME.equals(target.getScheme())) {
                return null;
            }
            return new Names(target.getPath().substring(1), target.getAuthority(), args);
        }
    }
}
