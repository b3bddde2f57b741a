//! The text of a zstd stream, one frame after the other.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Compressed bytes read at once.
const BUFFER: usize = 1 << 17;
/// Text decoded ahead: as much as the largest block.
const AHEAD: usize = 1 << 17;

/// Reads the text of all frames; those that say they can be skipped are.
pub struct Frames<R> {
    compressed: BufReader<R>,
    decoder: FrameDecoder,
    /// Whether a frame has begun and is not over.
    inside: bool,
}

impl<R: Read> Frames<R> {
    /// Starts at the first frame.
    pub fn new(compressed: R) -> Self {
        Self { compressed: BufReader::with_capacity(BUFFER, compressed), decoder: FrameDecoder::new(), inside: false }
    }

    /// Begins the next frame that holds text; false at the end of the stream.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.compressed.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.compressed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.compressed).take(length.into()), &mut io::sink())?;
                    if skipped < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(invalid(error)),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside && !self.begin()? {
                return Ok(0);
            }
            self.inside = true;
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let ahead = BlockDecodingStrategy::UptoBytes(AHEAD);
                self.decoder.decode_blocks(&mut self.compressed, ahead).map_err(invalid)?;
            }
            let length = self.decoder.read(into)?;
            if length > 0 || into.is_empty() {
                return Ok(length);
            }
            if self.decoder.is_finished() {
                self.inside = false;
                self.verify()?;
            }
        }
    }
}

impl<R> Frames<R> {
    /// Compares the frame's checksum, if it has one.
    fn verify(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(stored), Some(calculated)) if stored != calculated => {
                Err(invalid("a zstd frame's checksum does not fit its content"))
            }
            _ => Ok(()),
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
