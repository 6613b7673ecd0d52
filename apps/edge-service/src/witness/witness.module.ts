import { Global, Module } from '@nestjs/common';
import { Witness } from './witness.js';

@Global()
@Module({ providers: [Witness], exports: [Witness] })
export class WitnessModule {}
