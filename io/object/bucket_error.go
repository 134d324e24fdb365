package object

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/minio/minio-go/v7"
)

// explain turns the error of a request into one of seg's, or into one that says what to do. The texts of servers are
// left out: nobody knows what they repeat. The codes are enough.
func (b *bucket) explain(err error, right, name string) error {
	var refusal minio.ErrorResponse
	var large tooLarge
	switch {
	case err == nil, errors.Is(err, seg.ErrLocked), errors.As(err, &large):
		return err
	case errors.As(err, &refusal):
		return b.refused(refusal, right, name)
	}
	return b.unanswered(err)
}

// codes are how S3 says it. Anything else is not repeated.
var codes = regexp.MustCompile(`^[A-Za-z0-9. ]{1,64}$`)

// refused explains what a server has answered.
func (b *bucket) refused(e minio.ErrorResponse, right, name string) error {
	code := e.Code
	if !codes.MatchString(code) {
		code = "an error"
	}
	said := fmt.Sprintf("the server at %s said %s (%d)", b.endpoint, code, e.StatusCode)
	switch code {
	case "NoSuchKey", "NoSuchVersion":
		return fmt.Errorf("%w: %s", seg.ErrNotExist, said)
	case "NoSuchBucket":
		return fmt.Errorf("%s: there is no bucket %s; make it, or correct the URL of the archive", said, b.bucket)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return fmt.Errorf("%s: it does not take these credentials; %s", said, howToAuthenticate)
	case "RequestTimeTooSkewed":
		return fmt.Errorf("%s: the clock of this machine is wrong; set it", said)
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "InvalidRegion", "IllegalLocationConstraintException":
		return fmt.Errorf("%s: bucket %s is not in region %s; say where it is by region= in the URL of the archive, or by AWS_REGION", said, b.bucket, b.region)
	case "InvalidObjectState":
		return fmt.Errorf("%s: the object is in a storage class that is not read at once; restore it there first", said)
	case "NotImplemented", "MethodNotAllowed":
		return fmt.Errorf("%s: it cannot do what an archive needs (%s)", said, right)
	case "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull":
		return fmt.Errorf("%w: %w: %s", seg.ErrUnavailable, seg.ErrNoSpace, said)
	case "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "OperationAborted", "BadDigest", "InternalError", "ServiceUnavailable":
		return fmt.Errorf("%w: %s", seg.ErrUnavailable, said)
	}
	switch s := e.StatusCode; {
	case s == http.StatusForbidden || s == http.StatusUnauthorized:
		return fmt.Errorf("%s: these credentials have no right to %s in bucket %s, prefix %q; add it to their policy", said, right, b.bucket, b.prefix)
	case s == http.StatusNotFound && name != "":
		return fmt.Errorf("%w: %s", seg.ErrNotExist, said)
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusTooManyRequests, s == http.StatusConflict, s == 0:
		return fmt.Errorf("%w: %s", seg.ErrUnavailable, said)
	}
	return errors.New(said)
}

// unanswered explains why a server has not answered. Most of it passes; what a certificate or its absence says does not.
func (b *bucket) unanswered(err error) error {
	var long *url.Error
	if errors.As(err, &long) {
		err = long.Err // without the URL
	}
	var cert *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &cert), errors.As(err, &authority):
		return fmt.Errorf("the certificate of %s is not to be trusted; have SSL_CERT_FILE name the authority's, if it is yours: %w", b.endpoint, err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s does not speak TLS; add insecure=1 to the URL of the archive if it is on this machine", b.endpoint)
	}
	return fmt.Errorf("%w: no whole answer from %s: %w", seg.ErrUnavailable, b.endpoint, err)
}
