import { Global, Module } from '@nestjs/common';
import { CheckReceipts } from './check-receipts.js';
import { LedgerAppender } from './ledger-appender.js';
import { LedgerCheckpoints } from './ledger-checkpoints.js';
import { LedgerKeys } from './ledger-keys.js';

/** The ledger of what devices acknowledged. It exists once in a process. */
@Global()
@Module({
  providers: [LedgerKeys, LedgerCheckpoints, LedgerAppender, CheckReceipts],
  exports: [LedgerKeys, LedgerCheckpoints, LedgerAppender, CheckReceipts],
})
export class LedgerModule {}
