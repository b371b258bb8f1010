<?php

namespace Clarim\Laravel\Events;

/** A user has joined a presence channel. */
class MemberAdded
{
    public function __construct(public readonly string $channel, public readonly string $userId)
    {
    }
}
