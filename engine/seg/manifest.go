package seg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// ManifestName is the name of the file that names what is live.
const ManifestName = "MANIFEST"

// Manifest says what a data directory consists of. It is replaced as a whole:
//
//	+-----------+-----------+-------------+-----------+--------------+-----------+------------------+
//	| crc32c (4)| magic (4) | version (4) | align (4) | store id (8) | size (8)  | first segment (8)|
//	+-----------+-----------+-------------+-----------+--------------+-----------+------------------+
//	| count (4) | count × snapshot LSN (8), newest first |
//	+-----------+----------------------------------------+
//	| count × where the log goes on from that snapshot (8) | next sealed number (8) | count (4) |
//	+------------------------------------------------------+------------------------+-----------+
//	| count × sealed file: number (8), first LSN (8), last LSN (8), ascending LSNs |
//	+------------------------------------------------------------------------------+
//	| count (4) | count × snapshot of tables: number (8), tenant (8), next (8), lsn (8), ascending tenants and numbers |
//	+-----------+------------------------------------------------------------------------------------------------------+
//
// The checksum covers everything after itself. Format versions 1 and 2 end behind the snapshots' LSNs, 3 to 5
// behind the sealed files.
type Manifest struct {
	Store     StoreID
	Geometry  Geometry
	First     uint64         // the first live segment; the others follow without a gap
	Snapshots []SnapshotMark // at most MaxSnapshots, newest first
	Sealed    []SealedMark   // ascending LSNs, all of them before the first live segment's
	Next      uint64         // number of the next sealed file: above all that ever were
	Tables    []TablesMark   // at most MaxTables of a tenant, by tenant, ascending numbers
}

// SnapshotMark names a live snapshot.
type SnapshotMark struct {
	LSN  LSN
	Next Address // where the log goes on from it; 0 where an older version has not said so
}

// SealedMark names a live sealed file.
type SealedMark struct {
	Number      uint64
	First, Last LSN
}

// MaxSnapshots is how many snapshots are kept: the second one is there in case the first rots.
const MaxSnapshots = 2

const (
	manifestMagic = 0x314d424b // "KBM1"
	manifestFixed = 44
)

// ErrNoManifest says that a directory holds no database.
var ErrNoManifest = errors.New("seg: no manifest")

// ReadManifest reads the manifest. It returns ErrNoManifest where there is none, ErrNewerFormat, or ErrDamaged.
func ReadManifest(fs Files) (Manifest, error) {
	p, err := readFile(fs, ManifestName)
	if errors.Is(err, ErrNotExist) {
		return Manifest{}, ErrNoManifest
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	m, err := parseManifest(p)
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

// WriteManifest replaces the manifest, durably and all at once.
func WriteManifest(fs Files, m Manifest) error {
	if !m.Geometry.valid() { // or it would be taken for damaged ever after
		return fmt.Errorf("write manifest: segments of %d bytes in blocks of %d are not possible", m.Geometry.SegmentSize, m.Geometry.Align)
	}
	err := writeFile(fs, ManifestName, func(f File) error {
		_, err := f.WriteAt(m.encode(), 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

func (m Manifest) encode() []byte {
	p := make([]byte, 4, manifestFixed+16*len(m.Snapshots)+16+24*len(m.Sealed)+tablesMark*len(m.Tables))
	p = binary.LittleEndian.AppendUint32(p, manifestMagic)
	p = binary.LittleEndian.AppendUint32(p, FormatVersion)
	p = binary.LittleEndian.AppendUint32(p, uint32(m.Geometry.Align))
	p = binary.LittleEndian.AppendUint64(p, uint64(m.Store))
	p = binary.LittleEndian.AppendUint64(p, uint64(m.Geometry.SegmentSize))
	p = binary.LittleEndian.AppendUint64(p, m.First)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(m.Snapshots)))
	for _, s := range m.Snapshots {
		p = binary.LittleEndian.AppendUint64(p, uint64(s.LSN))
	}
	for _, s := range m.Snapshots {
		p = binary.LittleEndian.AppendUint64(p, uint64(s.Next))
	}
	p = binary.LittleEndian.AppendUint64(p, m.Next)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(m.Sealed)))
	for _, s := range m.Sealed {
		p = binary.LittleEndian.AppendUint64(p, s.Number)
		p = binary.LittleEndian.AppendUint64(p, uint64(s.First))
		p = binary.LittleEndian.AppendUint64(p, uint64(s.Last))
	}
	p = binary.LittleEndian.AppendUint32(p, uint32(len(m.Tables)))
	for _, t := range m.Tables {
		for _, v := range []uint64{t.Number, uint64(t.Tenant), uint64(t.Next), uint64(t.LSN)} {
			p = binary.LittleEndian.AppendUint64(p, v)
		}
	}
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
	return p
}

func parseManifest(p []byte) (Manifest, error) {
	if len(p) < manifestFixed || binary.LittleEndian.Uint32(p[4:]) != manifestMagic {
		return Manifest{}, ErrDamaged
	}
	if binary.LittleEndian.Uint32(p[8:]) > FormatVersion {
		return Manifest{}, ErrNewerFormat
	}
	if crc32.Checksum(p[4:], castagnoli) != binary.LittleEndian.Uint32(p) {
		return Manifest{}, ErrDamaged
	}
	m := Manifest{
		Store: StoreID(binary.LittleEndian.Uint64(p[16:])),
		Geometry: Geometry{
			Align:       int(binary.LittleEndian.Uint32(p[12:])),
			SegmentSize: int64(binary.LittleEndian.Uint64(p[24:])),
		},
		First: binary.LittleEndian.Uint64(p[32:]),
	}
	n := int(binary.LittleEndian.Uint32(p[40:]))
	rest := p[manifestFixed:]
	if n > MaxSnapshots || len(rest) < 8*n || !m.Geometry.valid() {
		return Manifest{}, ErrDamaged
	}
	for i := range n {
		m.Snapshots = append(m.Snapshots, SnapshotMark{LSN: LSN(binary.LittleEndian.Uint64(rest[8*i:]))})
	}
	rest = rest[8*n:]
	if binary.LittleEndian.Uint32(p[8:]) >= sealedVersion {
		ok := m.parseSealed(&rest)
		if !ok {
			return Manifest{}, ErrDamaged
		}
	}
	if binary.LittleEndian.Uint32(p[8:]) >= tablesVersion && !m.parseTables(&rest) {
		return Manifest{}, ErrDamaged
	}
	if len(rest) > 0 {
		return Manifest{}, ErrDamaged
	}
	return m, nil
}

// sealedVersion is the first format version that has sealed files.
const sealedVersion = 3

// parseSealed reads what version 3 has added, and leaves what follows it. It returns false where that makes no sense.
func (m *Manifest) parseSealed(p *[]byte) bool {
	rest := *p
	if len(rest) < 8*len(m.Snapshots)+12 {
		return false
	}
	for i := range m.Snapshots {
		m.Snapshots[i].Next = Address(binary.LittleEndian.Uint64(rest[8*i:]))
	}
	rest = rest[8*len(m.Snapshots):]
	m.Next = binary.LittleEndian.Uint64(rest)
	n := int(binary.LittleEndian.Uint32(rest[8:]))
	if rest = rest[12:]; len(rest)/24 < n {
		return false
	}
	for i := range n {
		s := SealedMark{
			Number: binary.LittleEndian.Uint64(rest[24*i:]),
			First:  LSN(binary.LittleEndian.Uint64(rest[24*i+8:])), Last: LSN(binary.LittleEndian.Uint64(rest[24*i+16:])),
		}
		if s.First > s.Last || s.Number >= m.Next || i > 0 && s.First <= m.Sealed[i-1].Last {
			return false
		}
		m.Sealed = append(m.Sealed, s)
	}
	*p = rest[24*n:]
	return true
}

const (
	// tablesVersion is the first format version that has snapshots of tables.
	tablesVersion = 6
	tablesMark    = 32 // bytes
)

// parseTables reads what version 6 has added, and leaves what follows it. It returns false where that makes no sense.
func (m *Manifest) parseTables(p *[]byte) bool {
	rest := *p
	if len(rest) < 4 {
		return false
	}
	n := int(binary.LittleEndian.Uint32(rest))
	if rest = rest[4:]; len(rest)/tablesMark < n {
		return false
	}
	for i := range n {
		word := func(k int) uint64 { return binary.LittleEndian.Uint64(rest[tablesMark*i+8*k:]) }
		t := TablesMark{Number: word(0), Tenant: wire.TenantID(word(1)), Next: wire.Offset(word(2)), LSN: LSN(word(3))}
		if i > 0 && t.compare(m.Tables[i-1]) <= 0 || i >= MaxTables && m.Tables[i-MaxTables].Tenant == t.Tenant {
			return false
		}
		m.Tables = append(m.Tables, t)
	}
	*p = rest[tablesMark*n:]
	return true
}

// readFile returns a whole file. It tries a few times: an error that passes must not look like damage.
func readFile(fs Files, name string) (p []byte, err error) {
	for range readTries {
		p, err = readOnce(fs, name)
		if err == nil || errors.Is(err, ErrNotExist) || errors.Is(err, ErrCrashed) {
			break
		}
	}
	return p, err
}

func readOnce(fs Files, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	p := make([]byte, n)
	if err = readFull(f, p, 0); err != nil && !errors.Is(err, ErrCrashed) {
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return p, err
}

// readFull fills p or fails. A read that comes back short is continued.
func readFull(f File, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := f.ReadAt(p, off)
		p, off = p[n:], off+int64(n)
		if err != nil && len(p) > 0 {
			return err
		}
		if n == 0 && len(p) > 0 {
			return fmt.Errorf("read at %d: no progress", off)
		}
	}
	return nil
}
