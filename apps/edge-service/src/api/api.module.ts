import { Module } from '@nestjs/common';
import { CycleModule } from '../cycle/cycle.module.js';
import { SyncController } from './sync.controller.js';

@Module({ imports: [CycleModule], controllers: [SyncController] })
export class ApiModule {}
