"""HTTP Live Streaming (RFC 8216): playlists, what is to be fetched of them and when, and its decryption."""
