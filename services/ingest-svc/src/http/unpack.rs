//! A body on its way in: unpacked as it arrives, within its bounds.
//!
//! Invariant: what is unpacked is bounded while it is unpacked, not afterwards: a small body that
//! unfolds into a large one is cut off at the bound.

use super::format::Coding;
use super::{answer, receive};
use crate::MAX_BODY_BYTES;
use crate::queue::Unstored;
use crate::shares::{Share, Size};
use aevon_service::problem::{Code, Problem};
use std::io::{self, Write};
use zstd::stream::raw::{self, DParameter, InBuffer, Operation, OutBuffer};

/// Largest window of zstd, 8 MiB: what RFC 8878 asks of every decoder, and all that its usual
/// levels need.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// Where unpacked bytes go.
pub(crate) trait Sink {
    /// Takes some of them.
    ///
    /// # Errors
    /// Where they make the whole body one that is refused.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem>;
}

impl Sink for Vec<u8> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Unpacks into a sink.
pub(crate) enum Unpacker<S: Sink> {
    Identity(Bounded<S>),
    Gzip(Box<flate2::write::MultiGzDecoder<Bounded<S>>>),
    Zstd(Bounded<S>, Box<Zstd>),
}

/// The state of zstd.
pub(crate) struct Zstd {
    decoder: raw::Decoder<'static>,
    buffer: Vec<u8>,
    /// Whether the last frame has ended.
    is_whole: bool,
}

/// A sink that takes so much and no more.
pub(crate) struct Bounded<S: Sink> {
    sink: S,
    /// What the bytes take of the bound for all bodies together.
    room: Share,
    refusal: Option<Problem>,
}

impl<S: Sink> Unpacker<S> {
    /// `room` is what the body takes of the bound for all bodies together: nothing yet.
    ///
    /// # Errors
    /// 500 where the decoder can't be made.
    pub(crate) fn new(coding: Coding, sink: S, room: Share) -> Result<Self, Problem> {
        let bounded = Bounded {
            sink,
            room,
            refusal: None,
        };
        Ok(match coding {
            Coding::Identity => Self::Identity(bounded),
            Coding::Gzip => Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(bounded))),
            Coding::Zstd => {
                let internal = |error| Problem::new(Code::Internal, format!("zstd: {error}"));
                let mut decoder = raw::Decoder::new().map_err(internal)?;
                let window = DParameter::WindowLogMax(MAX_ZSTD_WINDOW_LOG);
                decoder.set_parameter(window).map_err(internal)?;
                let zstd = Zstd {
                    decoder,
                    buffer: vec![0; zstd::zstd_safe::DCtx::out_size()],
                    is_whole: false,
                };
                Self::Zstd(bounded, Box::new(zstd))
            }
        })
    }

    /// Takes a chunk of the body.
    ///
    /// # Errors
    /// 400 where it is not what it was said to be; 413; 503 where too much arrives at once.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        let taken = match self {
            Self::Identity(bounded) => bounded.write_all(chunk),
            Self::Gzip(decoder) => decoder.write_all(chunk),
            Self::Zstd(bounded, zstd) => zstd.take(chunk, bounded),
        };
        taken.map_err(|error| self.problem(&error))
    }

    /// The sink, once the whole body was taken, and the room that its bytes take.
    ///
    /// # Errors
    /// 400 where the body ends in the middle.
    pub(crate) fn finish(mut self) -> Result<(S, Share), Problem> {
        let ended = match &mut self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd(_, zstd) if !zstd.is_whole => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        };
        ended.map_err(|error| self.problem(&error))?;
        let bounded = match self {
            Self::Identity(bounded) | Self::Zstd(bounded, _) => bounded,
            Self::Gzip(decoder) => decoder.finish().map_err(|error| broken(&error))?,
        };
        Ok((bounded.sink, bounded.room))
    }

    fn bounded(&mut self) -> &mut Bounded<S> {
        match self {
            Self::Identity(bounded) | Self::Zstd(bounded, _) => bounded,
            Self::Gzip(decoder) => decoder.get_mut(),
        }
    }

    fn problem(&mut self, error: &io::Error) -> Problem {
        let refusal = self.bounded().refusal.take();
        refusal.unwrap_or_else(|| broken(error))
    }
}

fn broken(error: &io::Error) -> Problem {
    let detail = format!("the body can't be unpacked: {error}");
    Problem::new(Code::MalformedBody, detail)
}

impl Zstd {
    fn take(&mut self, chunk: &[u8], into: &mut impl Write) -> io::Result<()> {
        let mut input = InBuffer::around(chunk);
        loop {
            let mut output = OutBuffer::around(&mut self.buffer);
            let hint = self.decoder.run(&mut input, &mut output)?;
            self.is_whole = hint == 0;
            let (written, capacity) = (output.pos(), output.capacity());
            into.write_all(&self.buffer[..written])?;
            // A full buffer may hide more, unless its frame has ended.
            if input.pos() == chunk.len() && (self.is_whole || written < capacity) {
                return Ok(());
            }
        }
    }
}

impl<S: Sink> Bounded<S> {
    fn admit(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        if self.room.size().bytes + bytes.len() > MAX_BODY_BYTES {
            return Err(receive::too_large());
        }
        if !self.room.grow(Size::of_bytes(bytes.len())) {
            return Err(answer::unstored(&Unstored::Full));
        }
        self.sink.take(bytes)
    }
}

impl<S: Sink> Write for Bounded<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.admit(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(refusal) => {
                self.refusal = Some(refusal);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{Flow, Shares};

    fn unpack(coding: Coding, packed: &[u8], chunk: usize) -> Result<Vec<u8>, Code> {
        let room = Shares::new(Size::of_bytes(64 << 20)).nothing(Flow::from("acme"));
        let mut unpacker = Unpacker::new(coding, Vec::new(), room).unwrap();
        let taken = packed
            .chunks(chunk)
            .try_for_each(|chunk| unpacker.take(chunk));
        let unpacked = taken.and_then(|()| unpacker.finish().map(|(bytes, _)| bytes));
        unpacked.map_err(|problem| problem.code)
    }

    fn pack(coding: Coding, plain: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Identity => plain.to_vec(),
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Zstd => zstd::encode_all(plain, 3).unwrap(),
        }
    }

    const PACKED: [Coding; 2] = [Coding::Gzip, Coding::Zstd];

    #[test]
    fn what_was_packed_comes_out_whatever_the_chunks() {
        let plain: Vec<u8> = (0..100_000_u32)
            .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
            .collect();
        for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd] {
            for chunk in [1_000_000, 4096, 7] {
                assert!(unpack(coding, &pack(coding, &plain), chunk) == Ok(plain.clone()));
            }
            assert_eq!(unpack(coding, &pack(coding, b""), 7), Ok(Vec::new()));
        }
    }

    #[test]
    fn what_ends_early_or_is_something_else_is_refused() {
        for coding in PACKED {
            let packed = pack(coding, &b"one event a line\n".repeat(1000));
            for cut in [packed.len() - 1, packed.len() / 2] {
                let cut = unpack(coding, &packed[..cut], 64);
                assert_eq!(cut, Err(Code::MalformedBody), "{coding:?}");
            }
            assert_eq!(unpack(coding, b"", 64), Err(Code::MalformedBody));
            assert_eq!(
                unpack(coding, b"{\"plain\":1}", 64),
                Err(Code::MalformedBody)
            );
        }
    }

    #[test]
    fn a_bomb_is_cut_off_at_the_bound() {
        for coding in PACKED {
            let bomb = pack(coding, &vec![b' '; 4 * MAX_BODY_BYTES]);
            assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
            assert_eq!(
                unpack(coding, &bomb, 1 << 20),
                Err(Code::BodyTooLarge),
                "{coding:?}"
            );
        }
        let most = pack(Coding::Zstd, &vec![b' '; MAX_BODY_BYTES]);
        assert_eq!(
            unpack(Coding::Zstd, &most, 1 << 20).map(|b| b.len()),
            Ok(MAX_BODY_BYTES)
        );
    }
}
