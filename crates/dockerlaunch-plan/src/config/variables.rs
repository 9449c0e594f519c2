//! Every environment variable that the launcher understands: its name stands here, and nowhere else.

/// A variable, as the documentation lists it (`docs/configuration.md`).
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name; `<FLAG>` and the like stand for something.
    pub name: &'static str,
    /// What it may be.
    pub form: &'static str,
    /// What it does.
    pub means: &'static str,
}

macro_rules! variables {
    ($($constant:ident = $name:literal, $form:literal, $means:literal;)*) => {
        $(#[doc = $means] pub const $constant: &str = $name;)*

        /// All of them, in the order of the documentation.
        pub const VARIABLES: &[Variable] =
            &[$(Variable { name: $name, form: $form, means: $means },)*];
    };
}

variables! {
    HOST = "DOCKER_HOST", "`unix://PATH`",
        "Where the engine listens, and where clients find it; other schemes are for clients only.";
    TLS_VERIFY = "DOCKER_TLS_VERIFY", "set or empty",
        "Clients speak TLS; set for them where they find certificates.";
    CERT_PATH = "DOCKER_CERT_PATH", "a directory",
        "Where clients have their certificates; set for them where they find some.";
    CERTDIR = "DOCKER_TLS_CERTDIR", "a directory, `/certs` unless set",
        "Where certificates are kept and made; set and empty: no TLS, and TCP on 2375 for whoever reaches it.";
    SAN = "DOCKER_TLS_SAN", "names and addresses, separated by commas",
        "What the server's certificate is valid for besides this machine's own; `DNS:x` and `IP:y` are understood too, other kinds of OpenSSL are passed over.";
    IPTABLES_LEGACY = "DOCKER_IPTABLES_LEGACY", "set, empty or unset",
        "Set: the legacy tables; empty: nf_tables; unset: what the kernel has.";
    REAP = "DOCKER_LAUNCH_REAP", "true or false",
        "`false`: become the engine instead of supervising it.";
    DEBUG = "DOCKER_LAUNCH_DEBUG", "true or false",
        "Tell each action and its time.";
    FLAG = "DOCKERD_<FLAG>", "as the flag",
        "`--flag` of dockerd, for every flag that the installed dockerd has: `DOCKERD_REGISTRY_MIRROR`, `DOCKERD_MTU`, …";
    CONFIG_JSON = "DOCKERD_CONFIG_JSON", "a JSON object",
        "Merged over the keys of daemon.json.";
    DAEMON_ARGS = "DOCKER_DAEMON_ARGS", "options of dockerd, quoted as in a shell",
        "Options added to the command line (the name that jpetazzo/dind uses).";
    MTU = "MTU", "a number",
        "`--mtu`, under the name that runner charts use.";
    REGISTRY_MIRROR = "DOCKER_REGISTRY_MIRROR", "URLs",
        "`--registry-mirror`, under the name that runner charts use.";
    INSECURE_REGISTRY = "DOCKER_INSECURE_REGISTRY", "hosts or networks",
        "`--insecure-registry`, under the name that runner charts use.";
    POOL_BASE = "DOCKER_DEFAULT_ADDRESS_POOL_BASE", "a network, `10.10.0.0/16`",
        "With the next one: `--default-address-pool`, under the names that runner charts use.";
    POOL_SIZE = "DOCKER_DEFAULT_ADDRESS_POOL_SIZE", "a prefix length, `24`",
        "The size of the networks that are cut out of it.";
    MIN_API_VERSION = "DOCKER_MIN_API_VERSION", "`1.40`",
        "The oldest API version that clients may speak; dockerd reads it itself.";
    DRIVER = "DOCKER_DRIVER", "`overlay2`, `vfs`, …",
        "The storage driver; dockerd reads it itself, and it beats every other setting.";
    EXTRA_CA = "DOCKER_EXTRA_CA", "paths separated by `:`, or PEM text",
        "CA certificates, as files or directories, that the engine trusts besides the system's.";
    CERT_FILE = "SSL_CERT_FILE", "a path",
        "The system's CA bundle, where it is not at its usual place.";
    HTTP_PROXY = "HTTP_PROXY", "a URL",
        "The proxy for plain HTTP; `http_proxy` is the same.";
    HTTPS_PROXY = "HTTPS_PROXY", "a URL",
        "The proxy for HTTPS; `https_proxy` is the same.";
    NO_PROXY = "NO_PROXY", "hosts, separated by commas",
        "What is reached without proxy; `no_proxy` is the same. What is inside is added.";
    SERVICE_HOST = "KUBERNETES_SERVICE_HOST", "an address",
        "Set by Kubernetes; added to `NO_PROXY`.";
}
