//! Open descriptors on their way to another process.
//!
//! A descriptor in a message of a Unix socket stays open until it is received, even if its sender has ended.
//! So nothing has to be done to the descriptors of the sender, and nothing has been given up if the other
//! process is never started. A message of the kernel has room for few descriptors and a socket for few
//! messages, so they are in several sockets (carriers), which are descriptors in the messages of a first one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Maximum number of descriptors in one message (`SCM_MAX_FD`).
const PER_MESSAGE: usize = 253;

/// Number of messages in one carrier. The buffer of a socket holds about 270.
const PER_CARRIER: usize = 128;

/// Collects descriptors for another process.
#[derive(Debug, Default)]
pub(crate) struct DescriptorSender {
    /// Receiving ends.
    carriers: Vec<OwnedFd>,
    current: Option<Carrier>,
    waiting: Vec<OwnedFd>,
    count: usize,
}

/// The carrier that is being filled.
#[derive(Debug)]
struct Carrier {
    sender: OwnedFd,
    messages: usize,
}

impl DescriptorSender {
    /// Adds a descriptor. Returns its number.
    pub(crate) fn add(&mut self, descriptor: BorrowedFd<'_>) -> io::Result<u32> {
        self.waiting.push(descriptor.try_clone_to_owned()?);
        if self.waiting.len() == PER_MESSAGE {
            self.send()?;
        }
        self.count += 1;
        Ok((self.count - 1) as u32)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if self.current.as_ref().is_none_or(|carrier| carrier.messages == PER_CARRIER) {
            let Pair { sender, receiver } = pair()?;
            self.carriers.push(receiver);
            self.current = Some(Carrier { sender, messages: 0 });
        }
        if let Some(carrier) = &mut self.current {
            send(carrier.sender.as_fd(), &self.waiting)?;
            carrier.messages += 1;
        }
        self.waiting.clear();
        Ok(())
    }

    /// Returns the socket from which the other process receives all descriptors, after those in `first`.
    pub(crate) fn finish(mut self, first: &[OwnedFd]) -> io::Result<OwnedFd> {
        self.send()?;
        let Pair { sender, receiver } = pair()?;
        send(sender.as_fd(), first)?;
        for carriers in self.carriers.chunks(PER_MESSAGE) {
            send(sender.as_fd(), carriers)?;
        }
        Ok(receiver)
    }
}

/// Descriptors that another process has sent.
#[derive(Debug)]
pub(crate) struct ReceivedDescriptors {
    /// Those that were given to [`DescriptorSender::finish`].
    pub(crate) first: Vec<OwnedFd>,
    /// The others, in their order.
    pub(crate) all: Vec<OwnedFd>,
}

/// Receives all descriptors.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<ReceivedDescriptors> {
    let first = receive_one(socket)?;
    let mut all = Vec::new();
    loop {
        let carriers = receive_one(socket)?;
        if carriers.is_empty() {
            return Ok(ReceivedDescriptors { first, all });
        }
        for carrier in carriers {
            loop {
                let more = receive_one(carrier.as_fd())?;
                if more.is_empty() {
                    break;
                }
                all.extend(more);
            }
        }
    }
}

/// Both ends of a socket.
struct Pair {
    sender: OwnedFd,
    receiver: OwnedFd,
}

#[cfg(target_os = "linux")]
fn pair() -> io::Result<Pair> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC;
    let (sender, receiver) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(Pair { sender, receiver })
}

#[cfg(target_os = "linux")]
fn send(socket: BorrowedFd<'_>, descriptors: &[OwnedFd]) -> io::Result<()> {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A message without data has no descriptors either.
    let data = [IoSlice::new(&[0])];
    sendmsg(socket, &data, &mut control, SendFlags::DONTWAIT)?;
    Ok(())
}

/// Receives one message. Without any descriptor at the end.
#[cfg(target_os = "linux")]
fn receive_one(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    use std::io::IoSliceMut;
    use std::mem::MaybeUninit;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut received = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    Ok(received)
}

#[cfg(not(target_os = "linux"))]
fn pair() -> io::Result<Pair> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn send(_: BorrowedFd<'_>, _: &[OwnedFd]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn receive_one(_: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn descriptors_arrive_in_their_order() {
        let mut sender = DescriptorSender::default();
        let files = [0, 1, 2].map(|n| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[n]).unwrap();
            file
        });
        // More than one message.
        for n in 0..600 {
            assert_eq!(sender.add(files[n % 3].as_fd()).unwrap(), n as u32);
        }
        let socket = sender.finish(&[files[2].try_clone().unwrap().into()]).unwrap();
        drop(files);
        let ReceivedDescriptors { first, all } = receive(socket.as_fd()).unwrap();
        let content = |descriptor: OwnedFd| {
            let mut file = File::from(descriptor);
            let mut byte = [0];
            file.rewind().unwrap();
            file.read_exact(&mut byte).unwrap();
            byte[0]
        };
        assert_eq!(first.into_iter().map(content).collect::<Vec<_>>(), [2]);
        let expected = [0, 1, 2].repeat(200);
        assert_eq!(all.into_iter().map(content).collect::<Vec<_>>(), expected);
    }
}
