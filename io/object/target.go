package object

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/minio/minio-go/v7"
)

// target is what a URL says about a bucket.
type target struct {
	bucket   string
	prefix   string // empty, or with a slash at its end
	endpoint string // host, or host:port
	region   string
	plain    bool // HTTP without TLS
	lookup   minio.BucketLookupType
	lock     minio.RetentionMode // empty where the bucket decides
}

// maxPrefix leaves room for the names of objects: S3 has 1024 bytes for both.
const maxPrefix = 400

// prefixes are those that mean the same to every server and every proxy on the way.
var prefixes = regexp.MustCompile(`^([A-Za-z0-9_-][A-Za-z0-9._-]*/)*$`)

// regions become part of a host's name.
var regions = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

func parseTarget(u *url.URL) (target, error) {
	t := target{bucket: u.Host, endpoint: "s3.amazonaws.com"}
	t.region = cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1")
	if t.prefix = strings.Trim(u.Path, "/"); t.prefix != "" {
		t.prefix += "/"
	}
	if t.bucket == "" || len(t.prefix) > maxPrefix || !prefixes.MatchString(t.prefix) || u.Fragment != "" {
		return t, fmt.Errorf("a bucket has the form s3://bucket/prefix; of the prefix, parts of A-Z, a-z, 0-9, '.', '_' and '-', at most %d bytes", maxPrefix)
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return t, errors.New("the parameters of the URL of the archive cannot be read")
	}
	insecure := ""
	for name, v := range values {
		if len(v) != 1 {
			return t, fmt.Errorf("parameter %q of the URL of the archive is given %d times", name, len(v))
		}
		switch name {
		case "endpoint":
			t.endpoint = v[0]
		case "region":
			t.region = v[0]
			if !regions.MatchString(t.region) {
				err = errors.New("the region of an archive is a word of a-z, 0-9 and '-'")
			}
		case "insecure":
			insecure = v[0]
		case "path-style":
			t.lookup = minio.BucketLookupPath
			err = oneOf(name, v[0], "1")
		case "lock":
			t.lock = minio.RetentionMode(strings.ToUpper(v[0]))
			err = oneOf(name, v[0], "governance", "compliance")
		default:
			err = fmt.Errorf("the URL of the archive has a parameter %q, which there is none of; there are endpoint, region, path-style, insecure and lock", name)
		}
		if err != nil {
			return t, err
		}
	}
	return t, t.secure(insecure)
}

func oneOf(name, value string, legal ...string) error {
	for _, l := range legal {
		if value == l {
			return nil
		}
	}
	return fmt.Errorf("parameter %s of the URL of the archive must be %s", name, strings.Join(legal, " or "))
}

// secure decides about TLS. Without it whoever is on the way reads and changes everything; so it is left out only where
// nobody is, or by a word that nobody writes by accident.
func (t *target) secure(insecure string) error {
	scheme, rest, found := strings.Cut(t.endpoint, "://")
	if !found {
		scheme, rest = "", t.endpoint
	}
	t.endpoint = strings.TrimSuffix(rest, "/")
	host, port, err := net.SplitHostPort(t.endpoint)
	if err != nil {
		host = strings.Trim(t.endpoint, "[]")
	}
	if host == "" || strings.ContainsAny(t.endpoint, "/@?#") || err == nil && port == "" {
		return errors.New("the endpoint of an archive is a host, or host:port")
	}
	t.plain = insecure != ""
	switch {
	case scheme != "" && scheme != "http" && scheme != "https":
		return errors.New("the endpoint of an archive is reached by https")
	case scheme == "https" && t.plain:
		return errors.New("the endpoint says https, and insecure says no; leave out one")
	case scheme == "http" && !t.plain:
		return errors.New("the endpoint says http, which anybody on the way can read and change; use https, or add insecure=1 where it is on this machine")
	case !t.plain:
		return nil
	case insecure == "1" && !loopback(host):
		return fmt.Errorf("insecure=1 is for an endpoint on this machine, and %s is elsewhere; use https, or say insecure=anywhere if anybody on the way may read and change the archive", host)
	}
	return oneOf("insecure", insecure, "1", "anywhere")
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
