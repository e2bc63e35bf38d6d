package sentriton

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Priority is a lane of the server.
type Priority string

// The server's lanes. Requests of the bulk lane wait for those of the query lane.
const (
	PriorityQuery Priority = "query"
	PriorityBulk  Priority = "bulk"
)

// OnModelChange is the reaction of a call to another model on the server.
type OnModelChange string

const (
	// ModelChangeRaise ends the call with [ErrContractMismatch].
	ModelChangeRaise OnModelChange = "raise"
	// ModelChangeReload reads the manifest again and restarts the call with that model, at most three times.
	ModelChangeReload OnModelChange = "reload"
)

const (
	defaultURL          = "localhost:8001"
	defaultStallTimeout = 60 * time.Second
	defaultMaxInFlight  = 16
	longestTime         = 100 * 365 * 24 * time.Hour // of a setting; far below the limit of time.Duration
)

// settings has the checked settings of an encoder. Only this file has the defaults.
type settings struct {
	url               string
	addresses         []string
	timeout           time.Duration // 0: none
	stallTimeout      time.Duration
	priority          Priority
	maxInFlight       int
	onModelChange     OnModelChange
	tls               bool
	rootCertificates  string
	clientCertificate string
	clientKey         string
	serverName        string
	accessKey         string
}

// resolveSettings takes the given settings, then the environment, then the defaults.
func resolveSettings(url string, options []Option) (*settings, error) {
	resolved, err := environment()
	if err != nil {
		return nil, err
	}
	if url != "" {
		resolved.url = url
	}
	for _, option := range options {
		if err := option.apply(resolved); err != nil {
			return nil, err
		}
	}
	return resolved, resolved.check()
}

// environment returns the settings of the variables, and the defaults.
func environment() (*settings, error) {
	found := &settings{
		url:               variable("URL", defaultURL),
		stallTimeout:      defaultStallTimeout,
		priority:          Priority(variable("PRIORITY", string(PriorityQuery))),
		maxInFlight:       defaultMaxInFlight,
		onModelChange:     OnModelChange(variable("ON_MODEL_CHANGE", string(ModelChangeRaise))),
		rootCertificates:  variable("ROOT_CERTIFICATES", ""),
		clientCertificate: variable("CLIENT_CERTIFICATE", ""),
		clientKey:         variable("CLIENT_KEY", ""),
		serverName:        variable("SERVER_NAME", ""),
		accessKey:         variable("ACCESS_KEY", ""),
	}
	if err := secondsVariable("TIMEOUT_S", &found.timeout); err != nil {
		return nil, err
	}
	if err := secondsVariable("STALL_TIMEOUT_S", &found.stallTimeout); err != nil {
		return nil, err
	}
	if text := variable("MAX_IN_FLIGHT", ""); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 {
			return nil, invalidInput("$SENTRITON_MAX_IN_FLIGHT is %q; allowed are whole numbers from 1", text)
		}
		found.maxInFlight = number
	}
	switch text := variable("TLS", ""); strings.ToLower(text) {
	case "1", "true", "yes", "on":
		found.tls = true
	case "", "0", "false", "no", "off":
	default:
		return nil, invalidInput("$SENTRITON_TLS is %q; allowed are 1, true, yes, on, 0, false, no, off", text)
	}
	return found, nil
}

func (s *settings) check() error {
	addresses, err := readAddresses(s.url)
	if err != nil {
		return err
	}
	s.addresses = addresses
	if s.priority != PriorityQuery && s.priority != PriorityBulk {
		return invalidInput("priority is %q; allowed are query, bulk", s.priority)
	}
	if s.onModelChange != ModelChangeRaise && s.onModelChange != ModelChangeReload {
		return invalidInput("onModelChange is %q; allowed are raise, reload", s.onModelChange)
	}
	if (s.clientCertificate == "") != (s.clientKey == "") {
		return invalidInput("a client certificate and its key must be set together; one of them is missing")
	}
	if s.accessKey != "" && !sendable.MatchString(s.accessKey) {
		// The message must not show the secret.
		return invalidInput("the access key cannot be sent; allowed are printable ASCII characters, without spaces or " +
			"line ends around them")
	}
	for _, path := range []*string{&s.rootCertificates, &s.clientCertificate, &s.clientKey} {
		*path = belowHome(*path)
	}
	s.tls = s.tls || s.rootCertificates != "" || s.clientCertificate != ""
	return nil
}

var (
	sendable    = regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`)
	addressText = regexp.MustCompile(`^(?:dns://[^\s/]*/)?(?:[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})$`)
)

func readAddresses(url string) ([]string, error) {
	var addresses []string
	for part := range strings.SplitSeq(url, ",") {
		address := strings.TrimSpace(part)
		match := addressText.FindStringSubmatch(address)
		if match == nil {
			return nil, wrongURL(url)
		}
		if port, _ := strconv.Atoi(match[1]); port < 1 || port > 65_535 {
			return nil, wrongURL(url)
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

func wrongURL(url string) error {
	return invalidInput("url is %q; give host:port, several separated by commas, or dns:///host:port", url)
}

func variable(name, unset string) string {
	if text := os.Getenv("SENTRITON_" + name); text != "" {
		return text
	}
	return unset
}

// belowHome puts the home folder in place of ~ at the beginning of a path.
func belowHome(path string) string {
	rest, found := strings.CutPrefix(path, "~")
	if !found || (rest != "" && rest[0] != '/') {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	return home + rest
}

func secondsVariable(name string, value *time.Duration) error {
	text := variable(name, "")
	if text == "" {
		return nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	// ParseFloat returns infinity and an error for numbers that are too large.
	if err != nil || !(seconds > 0) || math.IsInf(seconds, 0) {
		return invalidInput("$SENTRITON_%s is %q; allowed are finite numbers above 0", name, text)
	}
	*value = max(1, time.Duration(min(seconds, longestTime.Seconds())*float64(time.Second)))
	return nil
}

// String hides the access key, even if an encoder is printed.
func (s *settings) String() string { return fmt.Sprintf("settings of %s", s.url) }
