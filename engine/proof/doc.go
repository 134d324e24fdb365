// Package proof proves what a checkpoint held. Each stream has a Merkle tree (RFC 6962) whose leaves are salted hashes of its events; the
// manifest of a checkpoint has a line for each stream with the root of its tree; and a signed note has the root of the tree of those
// lines. Whoever has the public key, the note and some hashes can check that an event was there, and that nothing before it has changed.
// docs/PROOFS.md is the specification.
package proof
